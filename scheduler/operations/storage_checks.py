"""Checks of the storage: access, bucket, rights, its clock, and the shipped styles in it."""

import secrets
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any

from nst_core.clock import Clock
from nst_core.errors import BlobError, BlobNotFoundError, BlobUnavailableError, StorageClockError, StorageIdentityError
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri, make_client
from nst_core.styles import shipped_styles, version_of
from scheduler.operations.clocks import clock_finding
from scheduler.operations.findings import Finding, ok, problem, warning
from scheduler.styles.weights import weights_uri


def check_storage(
    settings: StorageSettings, *, deletes: bool = True, client: Any = None, clock: Clock = time.time
) -> Iterator[Finding]:
    """Yield the findings about the storage. A small object is written, read and deleted in its bucket.

    `deletes` says whether this machine needs the right to delete, as schedulers do.
    """
    client = client or make_client(settings, patient=False)
    ahead_s: list[float] = []

    def hear(http_response: Any, **_: Any) -> None:
        date = http_response.headers.get("date")
        if date:
            # It has no fractions: on the average, half a second more has passed.
            ahead_s.append(parsedate_to_datetime(date).timestamp() + 0.5 - clock())

    client.meta.events.register("after-call.s3", hear)
    yield from _access(BlobStore(settings, client=client), settings, lambda: bool(ahead_s), deletes=deletes)
    if ahead_s:
        yield clock_finding("storage_clock", "the storage", min(ahead_s, key=abs))


def _access(
    blobs: BlobStore, settings: StorageSettings, answered: Callable[[], bool], *, deletes: bool
) -> Iterator[Finding]:
    uri, data = BlobUri(settings.s3_bucket, f"health/doctor-{secrets.token_hex(8)}"), secrets.token_bytes(16)
    name = settings.s3_endpoint or "Amazon S3"
    refusal: BlobError | None = None
    try:
        blobs.put(uri, data)
    except StorageIdentityError as error:
        found = f"{name}: {error.message}"
        remedy = "Correct NST_S3_ACCESS_KEY and NST_S3_SECRET_KEY, or give the key rights for the bucket."
        yield problem("storage", "storage_refused", found, remedy)
        return
    except StorageClockError as error:
        yield problem("storage", "storage_clock_refused", f"{name}: {error.message}", "Set the clock of this machine.")
        return
    except BlobUnavailableError as error:
        code = "storage_fails" if answered() else "storage_unreachable"
        yield problem("storage", code, error.message, "Start it, or correct NST_S3_ENDPOINT, or the network.")
        return
    except BlobError as error:
        refusal = error
    yield ok("storage", f"{name} answers and accepts the key.")
    if isinstance(refusal, BlobNotFoundError):
        found = f"There is no bucket {settings.s3_bucket}."
        remedy = "Create it, or correct NST_S3_BUCKET. A scheduler creates it when it starts, if its key may."
        yield problem("storage_bucket", "storage_bucket_missing", found, remedy)
        return
    yield ok("storage_bucket", f"The bucket is {settings.s3_bucket}.")
    yield _rights(blobs, uri, data, refusal, deletes=deletes)


def _rights(blobs: BlobStore, uri: BlobUri, data: bytes, refusal: BlobError | None, *, deletes: bool) -> Finding:
    remedy = "Give the key s3:PutObject, s3:GetObject, s3:DeleteObject and s3:ListBucket for the bucket."
    if refusal is not None:
        return problem("storage_rights", "storage_write_refused", f"Writing failed: {refusal.message}", remedy)
    try:
        read = blobs.get(uri)
    except BlobError as error:
        return problem("storage_rights", "storage_read_refused", f"Reading failed: {error.message}", remedy)
    if read != data:
        found = "An object did not have the bytes that were just written."
        return problem("storage_rights", "storage_inconsistent", found, "Use a storage that is consistent.")
    try:
        blobs.delete(uri)
    except BlobError as error:
        state = problem if deletes else warning
        return state("storage_rights", "storage_delete_refused", f"Deleting failed: {error.message}", remedy)
    return ok("storage_rights", "An object was written, read and deleted.")


def check_stored_styles(settings: StorageSettings) -> Iterator[Finding]:
    """Yield the finding about the weights of the shipped styles in the storage, whose names are their digests."""
    blobs = BlobStore(settings, client=make_client(settings, patient=False))
    damaged, missing, count = [], [], 0
    for style in shipped_styles():
        version, count = version_of(style.weights()), count + 1
        uri = weights_uri(blobs, version)
        try:
            stored = sha256(blobs.get(uri)).hexdigest()
        except BlobNotFoundError:
            missing.append(style.name)
            continue
        except BlobError:
            return  # another check names the fault
        if stored != version:
            damaged.append(f"{style.name} ({uri})")
    if damaged:
        found = f"The weights of {', '.join(damaged)} are damaged in the storage."
        remedy = "Delete these objects and restart a scheduler, which writes them again."
        yield problem("storage_styles", "weights_damaged", found, remedy)
    elif missing:
        found = f"Not in the storage yet: {', '.join(missing)}."
        yield warning(
            "storage_styles", "weights_missing", found, "Start a scheduler of this version, which writes them."
        )
    else:
        yield ok("storage_styles", f"The weights of {count} shipped styles are undamaged.")
