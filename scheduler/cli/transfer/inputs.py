"""The input of a job, from the arguments of a command: files are uploaded, s3:// addresses stay as they are."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path, PurePosixPath

from nst_core.client import ApiError, Client
from nst_core.client.resources.access import Limits, OwnTenant
from nst_core.client.resources.jobs import Job, JobInput
from nst_core.formats import IMAGE_SUFFIXES
from scheduler.cli.exits import OutputIsInputError, UsageError
from scheduler.cli.session import Session
from scheduler.cli.transfer.names import readable
from scheduler.cli.transfer.own_results import EarlierResults, made_by_jobs
from scheduler.cli.transfer.photos import Found, Identity, Left, Photo, find_photos, summary
from scheduler.cli.transfer.results import S3, Naming
from scheduler.cli.transfer.uploads import Hashed, PlaceCheck, files_there, read_photos, send_photos, upload_id_of

#: Suffixes of manifests, which name photos. The API tells their formats by their content.
_MANIFEST = re.compile(r".*[^/]\.(jsonl|ndjson|json|csv|tsv|txt)(\.gz)?", re.IGNORECASE | re.DOTALL)
_SHOWN = 10


class Format(StrEnum):
    """File formats of results."""

    KEEP = "keep"  # JPEG, PNG and WebP keep their format, all others become PNG
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The input of a job, and its files on this machine."""

    input: JobInput
    #: Files on this machine by their s3:// addresses.
    paths: Mapping[str, Path] = field(default_factory=dict)
    #: Files that are not photos.
    skipped: Sequence[Left] = ()
    #: Photos that could not be sent.
    failed: Sequence[Left] = ()
    #: The photos on this machine, which results must not replace.
    identities: frozenset[Identity] = frozenset()


def upload_or_name(
    session: Session,
    client: Client,
    inputs: Sequence[str],
    naming: Naming,
    *,
    own_id: str | None = None,
    others: Iterable[Photo] = (),
    check: PlaceCheck | None = None,
) -> Inputs:
    """Upload the photos that are on this machine, and return the input of the job.

    If the same command made a job before, nothing is uploaded. `check` is called before photos are sent, as in
    `send_photos`. Raises ApiError (`job_exists`) before the upload if
    `own_id` names a job with other photos, and OutputIsInputError if a result would replace a photo or one of
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
        session.note(f"The job {earlier.id} exists already; nothing is uploaded.")
        never_sent = _never_sent(client, photos)
        say_left(session, never_sent)
        paths = {prefix + each.photo.name: each.photo.path for each in photos}
        same = JobInput(prefix=earlier.input.prefix)
        failed += never_sent
        return Inputs(input=same, paths=paths, skipped=found.skipped, failed=failed, identities=identities)
    sent = send_photos(session, client, photos, check=check)
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


def _styles(client: Client) -> list[str]:
    """Return the names of all styles, or none if the key may not see them."""
    try:
        return [style.name for style in client.styles()]
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return []


def find(session: Session, client: Client, inputs: Sequence[str], naming: Naming) -> Found:
    """Return the photos that the arguments name, and print which files were skipped."""
    limits = own_limits(client)
    most_bytes = None if limits is None else limits.max_upload_bytes
    earlier = None
    if naming.target.folder is not None and naming.target.folder.is_dir():
        # Results of other styles may lie among the photos as well.
        earlier = EarlierResults(naming, known=_styles(client), made=partial(made_by_jobs, client, naming.template))
    found = find_photos([Path(text) for text in inputs], naming, most_bytes=most_bytes, earlier=earlier)
    if found.skipped:
        session.note(summary(found.skipped))
    return found


def check_not_replaced(originals: Sequence[Photo], photos: Sequence[Photo], naming: Naming) -> None:
    """Raise OutputIsInputError if a result of a photo would replace one of the originals."""
    paths = {photo.identity: photo.path for photo in originals}
    # The photos of a job are ordered by their names in the storage.
    for index, photo in enumerate(sorted(photos, key=lambda photo: photo.name.encode())):
        for result in naming.results_of(photo.name, index):
            try:
                status = result.stat()
            except OSError:
                continue  # there is nothing to replace
            original = paths.get((status.st_dev, status.st_ino))
            if original is not None:
                raise OutputIsInputError(
                    f"The result of {readable(photo.path)} would replace the photo {readable(original)}. "
                    "Choose another folder with -o, or other names with --name."
                )


def find_job(client: Client, own_id: str | None) -> Job | None:
    """Return the job with an id that the user chose, or None if there is none yet."""
    if own_id is None:
        return None
    try:
        return client.job(own_id)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def say_left(session: Session, failed: Sequence[Left]) -> None:
    """Print which files were not sent or not written, and why."""
    for each in failed[:_SHOWN]:
        session.note(f"✗ {readable(each.path)} {each.message} ({each.code})")
    if len(failed) > _SHOWN:
        session.note(f"  and {len(failed) - _SHOWN:,} more; --json lists them all")


def named(inputs: Sequence[str]) -> JobInput | None:
    """Return the input of the job if it is s3:// addresses, or None if it is files on this machine."""
    remote = [text for text in inputs if text.startswith(S3)]
    if remote and len(remote) < len(inputs):
        raise UsageError("A job cannot have both files on this machine and s3:// addresses.")
    return _remote_input(remote) if remote else None


def _remote_input(addresses: Sequence[str]) -> JobInput:
    if len(addresses) == 1 and _MANIFEST.fullmatch(addresses[0]):
        return JobInput(manifest=addresses[0])
    prefixes = [text for text in addresses if not _is_object(text)]
    if not prefixes:
        return JobInput(uris=tuple(addresses))
    if len(addresses) > 1:
        raise UsageError("A job takes one s3:// prefix or manifest, or any number of s3:// objects, but not both.")
    return JobInput(prefix=prefixes[0] if prefixes[0].endswith("/") else prefixes[0] + "/")


def _is_object(address: str) -> bool:
    return not address.endswith("/") and PurePosixPath(address).suffix.lower() in IMAGE_SUFFIXES


def _same_photos(job: Job, upload_id: str) -> str:
    """Return the prefix of a job's photos; raise ApiError (`job_exists`) if they are not those of the upload."""
    prefix = job.input.prefix or ""
    if not prefix.endswith(f"/{upload_id}/"):
        detail = f"The id {job.client_id} belongs to {job.id}, a job with other photos. Choose another --id."
        raise ApiError(status=409, code="job_exists", detail=detail)
    return prefix


def _never_sent(client: Client, photos: Sequence[Hashed]) -> list[Left]:
    """Return the photos that the command which made a job could not send; none once the upload was removed."""
    there = files_there(client, upload_id_of(photos))
    message = "is not in the job, because it could not be uploaded"
    return [
        Left(path=each.photo.path, code="not_uploaded", message=message)
        for each in photos
        if there and each.photo.name not in there
    ]


def own_limits(client: Client) -> Limits | None:
    """Return the limits of the tenant, or None if the API does not tell."""
    tenant = own_tenant(client)
    return None if tenant is None else tenant.limits


def own_tenant(client: Client) -> OwnTenant | None:
    """Return the tenant, or None if the API does not tell."""
    try:
        return client.tenants.own()
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return None
