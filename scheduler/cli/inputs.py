"""What a job reads, from the arguments of a command: photos of this machine are uploaded, addresses are named."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import typer

from scheduler.cli.exits import ExitCode, UsageError
from scheduler.cli.progress import transfer_bar
from scheduler.cli.session import Session
from scheduler.cli.transfer import find_photos, upload_photos
from scheduler.client import ApiError, Client
from scheduler.domain import IMAGE_SUFFIXES, JobInput
from scheduler.resources import Job

S3 = "s3://"
#: An object that names photos, a JSON object a line.
MANIFEST_SUFFIX = ".jsonl"


class Format(StrEnum):
    """File formats of results."""

    KEEP = "keep"  # JPEG, PNG and WebP stay what they are, the rest becomes PNG
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


def find_job(client: Client, own_id: str | None) -> Job | None:
    """Return the job of an id that the user chose, where there is one: what it reads is not uploaded again."""
    if own_id is None:
        return None
    try:
        return client.job(own_id)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def upload_or_name(
    session: Session, client: Client, inputs: Sequence[str], format: Format, *, earlier: Job | None = None
) -> JobInput:
    """Return the job's input; photos of this machine are in the storage after it.

    Where the same command made a job before, they are in the storage already.
    """
    remote = named(inputs)
    if remote is not None:
        return remote
    if earlier is not None:
        session.err.print(f"There is a job {earlier.id} already; nothing is uploaded.", soft_wrap=True)
        return earlier.input
    photos = find_photos([Path(text) for text in inputs], format=format)
    with uploading(session), transfer_bar(session.err, "uploading", len(photos)) as advance:
        upload = upload_photos(client, photos, on_done=advance)
    return JobInput(prefix=upload.prefix)


def named(inputs: Sequence[str]) -> JobInput | None:
    """Return the job's input where it is addresses, or None where it is photos of this machine."""
    remote = [text for text in inputs if text.startswith(S3)]
    if remote and len(remote) < len(inputs):
        raise UsageError("Photos of this machine and s3:// addresses cannot be in one job.")
    return _remote_input(remote) if remote else None


def upload_or_name_one(session: Session, client: Client, text: str, *, earlier: str | None = None) -> str:
    """Return the s3:// address of one picture, which is in the storage after it; `text` may be its address already.

    `earlier` is the address that it got from the same command before.
    """
    if text.startswith(S3):
        return text
    if earlier is not None:
        return earlier
    path = Path(text)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; one picture is needed.")
    (photo,) = find_photos([path], format=Format.KEEP)
    with uploading(session):
        return client.upload(client.create_upload().id, photo.name, path)


@contextmanager
def uploading(session: Session, thing: str = "job") -> Iterator[None]:
    """Let Ctrl-C say that nothing was submitted."""
    try:
        yield
    except KeyboardInterrupt:
        session.err.print(f"\nStopped during the upload; no {thing} was submitted.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _remote_input(addresses: Sequence[str]) -> JobInput:
    if len(addresses) == 1 and addresses[0].endswith(MANIFEST_SUFFIX):
        return JobInput(manifest=addresses[0])
    prefixes = [text for text in addresses if Path(text).suffix.lower() not in IMAGE_SUFFIXES]
    if not prefixes:
        return JobInput(uris=tuple(addresses))
    if len(addresses) > 1:
        raise UsageError("A job takes one s3:// prefix, or any number of objects, and not both.")
    return JobInput(prefix=prefixes[0] if prefixes[0].endswith("/") else prefixes[0] + "/")
