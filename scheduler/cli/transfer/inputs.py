"""What a job reads, from the arguments of a command: photos of this machine are uploaded, addresses are named."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath

from nst_core.client import ApiError, Client
from nst_core.formats import IMAGE_SUFFIXES
from scheduler.cli.exits import OutputIsInputError, UsageError
from scheduler.cli.session import Session
from scheduler.cli.transfer.names import readable
from scheduler.cli.transfer.photos import Found, Identity, Left, Photo, find_photos, summary
from scheduler.cli.transfer.results import S3, Naming
from scheduler.cli.transfer.uploads import read_photos, send_photos, upload_id_of
from scheduler.domain.jobs import JobInput
from scheduler.resources import Job

#: Objects that name photos, a JSON object a line.
MANIFEST_SUFFIXES = (".jsonl", ".ndjson")
_SHOWN = 10


class Format(StrEnum):
    """File formats of results."""

    KEEP = "keep"  # JPEG, PNG and WebP stay what they are, the rest becomes PNG
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A job's input, and the files of this machine that are in it."""

    input: JobInput
    #: Files by the addresses that the job has for them.
    paths: Mapping[str, Path] = field(default_factory=dict)
    #: Files beside the photos that are none.
    skipped: Sequence[Left] = ()
    #: Photos that could not be sent.
    failed: Sequence[Left] = ()
    #: What the photos are on this machine.
    identities: frozenset[Identity] = frozenset()


def upload_or_name(
    session: Session,
    client: Client,
    inputs: Sequence[str],
    naming: Naming,
    *,
    own_id: str | None = None,
    others: Iterable[Photo] = (),
) -> Inputs:
    """Return the job's input; photos of this machine are in the storage after it.

    If the same command made a job before, nothing is uploaded. Raises ApiError (`job_exists`) before the upload if the
    id is that of a job with other photos, and OutputIsInputError if a result would replace a photo, or one of the
    `others`.
    """
    remote = named(inputs)
    if remote is not None:
        return Inputs(input=remote)
    found = find(session, client, inputs, naming)
    check_not_replaced([*found.photos, *others], found.photos, naming)
    photos, unread = read_photos(session, found.photos)
    failed = [*found.failed, *unread]
    say_left(session, failed)
    if not photos:
        raise UsageError("None of the photos can be read.")
    identities = frozenset(photo.identity for photo in (*found.photos, *others))
    earlier = find_job(client, own_id)
    if earlier is not None:
        prefix = _same_photos(earlier, upload_id_of(photos))
        session.err.print(f"There is a job {earlier.id} already; nothing is uploaded.", soft_wrap=True)
        paths = {prefix + each.photo.name: each.photo.path for each in photos}
        same = JobInput(prefix=earlier.input.prefix)
        return Inputs(input=same, paths=paths, skipped=found.skipped, failed=failed, identities=identities)
    sent = send_photos(session, client, photos)
    say_left(session, sent.failed)
    if not sent.paths:
        raise UsageError("None of the photos could be uploaded.")
    return Inputs(
        input=JobInput(prefix=sent.upload.prefix),
        paths=sent.paths,
        skipped=found.skipped,
        failed=[*failed, *sent.failed],
        identities=identities,
    )


def find(session: Session, client: Client, inputs: Sequence[str], naming: Naming) -> Found:
    """Return the photos of this machine that the arguments name, and say which files are none."""
    found = find_photos([Path(text) for text in inputs], naming, most_bytes=_most_bytes(client))
    if found.skipped:
        session.err.print(summary(found.skipped), soft_wrap=True, markup=False)
    return found


def check_not_replaced(originals: Sequence[Photo], photos: Sequence[Photo], naming: Naming) -> None:
    """Raise OutputIsInputError if a result of a photo would replace one of the originals."""
    paths = {photo.identity: photo.path for photo in originals}
    # The order of a job's photos is that of their keys.
    for index, photo in enumerate(sorted(photos, key=lambda photo: photo.name.encode())):
        for result in naming.results_of(photo.name, index):
            try:
                status = result.stat()
            except OSError:
                continue  # what is not there is not replaced
            original = paths.get((status.st_dev, status.st_ino))
            if original is not None:
                raise OutputIsInputError(
                    f"The result of {readable(photo.path)} would replace the photo {readable(original)}. "
                    "Choose another folder with -o, or other names with --name."
                )


def find_one(session: Session, client: Client, text: str) -> Photo | None:
    """Return the one picture of this machine that an argument names, or None for an s3:// address."""
    if text.startswith(S3):
        return None
    path = Path(text)
    if path.is_dir():
        raise UsageError(f"{readable(path)} is a folder; one picture is needed.")
    found = find_photos([path], Naming(), most_bytes=_most_bytes(client))
    return found.photos[0]


def upload_one(session: Session, client: Client, text: str, photo: Photo | None) -> str:
    """Return the s3:// address of one picture, which is in the storage after it; `text` is its address already
    if there is no photo. The same picture always has the same address."""
    if photo is None:
        return text
    read, failed = read_photos(session, [photo])
    if not failed:
        sent = send_photos(session, client, read)
        failed = sent.failed
    if failed:
        raise UsageError(f"{readable(photo.path)} {failed[0].message}.")
    (address,) = sent.paths
    return address


def find_job(client: Client, own_id: str | None) -> Job | None:
    """Return the job of an id that the user chose, or None if there is no such job yet."""
    if own_id is None:
        return None
    try:
        return client.job(own_id)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def say_left(session: Session, failed: Sequence[Left]) -> None:
    """Say which files are not sent, or not written, and why."""
    for each in failed[:_SHOWN]:
        session.err.print(f"✗ {readable(each.path)} {each.message} ({each.code})", soft_wrap=True, markup=False)
    if len(failed) > _SHOWN:
        session.err.print(f"  and {len(failed) - _SHOWN:,} more; --json lists them all", soft_wrap=True)


def named(inputs: Sequence[str]) -> JobInput | None:
    """Return the job's input if it is addresses, or None if it is photos of this machine."""
    remote = [text for text in inputs if text.startswith(S3)]
    if remote and len(remote) < len(inputs):
        raise UsageError("Photos of this machine and s3:// addresses cannot be in one job.")
    return _remote_input(remote) if remote else None


def _remote_input(addresses: Sequence[str]) -> JobInput:
    if len(addresses) == 1 and addresses[0].lower().endswith(MANIFEST_SUFFIXES):
        return JobInput(manifest=addresses[0])
    prefixes = [text for text in addresses if not _is_object(text)]
    if not prefixes:
        return JobInput(uris=tuple(addresses))
    if len(addresses) > 1:
        raise UsageError("A job takes one s3:// prefix, or any number of objects, and not both.")
    return JobInput(prefix=prefixes[0] if prefixes[0].endswith("/") else prefixes[0] + "/")


def _is_object(address: str) -> bool:
    return not address.endswith("/") and PurePosixPath(address).suffix.lower() in IMAGE_SUFFIXES


def _same_photos(job: Job, upload_id: str) -> str:
    """Return the prefix of a job's photos if they are those of an upload; raise ApiError (`job_exists`) if not."""
    prefix = job.input.prefix or ""
    if not prefix.endswith(f"/{upload_id}/"):
        detail = f"The id {job.client_id} names {job.id}, a job with other photos. Choose another --id for these."
        raise ApiError(status=409, code="job_exists", detail=detail)
    return prefix


def _most_bytes(client: Client) -> float | None:
    """Return how large a file may be, or None if the API does not tell."""
    try:
        return client.tenants.own().limits.get("max_upload_bytes")
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return None
