"""What clients can ask for, independent of HTTP: jobs and uploads, and what styles, runs and keys have of their own."""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterator
from typing import IO, Any

from sqlalchemy.exc import IntegrityError

from nst_core.blobs import BlobStore, BlobUri
from nst_core.clock import Clock
from nst_core.errors import BlobNotFoundError, ConfigError
from nst_core.protocol import ItemStatus, preview_uri
from scheduler import domain
from scheduler.domain import Job, JobStatus
from scheduler.errors import (
    ConflictError,
    KeyReusedError,
    NotFoundError,
    RequestInvalidError,
)
from scheduler.keys import Keys
from scheduler.limits import Limits, check_new_job, check_pixels
from scheduler.requests import JobRequest, Resolver
from scheduler.run_requests import RunResolver
from scheduler.run_service import RunService
from scheduler.store import chunks as chunk_rows
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Database
from scheduler.store.items import Item
from scheduler.style_library import StyleLibrary
from scheduler.tenants import Tenants

_UPLOAD_PATTERN = re.compile(r"upl_[0-9a-f]{24}")
_CANCELLABLE = (JobStatus.QUEUED, JobStatus.PLANNING, JobStatus.RUNNING)


class Service:
    """The scheduler's operations. Every look-up is limited to the tenant that asks."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        clock: Clock,
        buckets: frozenset[str],
        wake: Callable[[], None] = lambda: None,
        training_data: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`buckets` are those that jobs may use; `wake` is called when there is work for the control loops.

        `limits` are those of tenants for which nothing else is set.

        `training_data` is the s3:// address of photos for runs that bring none of their own.
        """
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self.keys = Keys(database, clock=clock)
        self.tenants = Tenants(database, clock=clock, bucket=blobs.bucket, buckets=buckets, defaults=limits)
        self._resolver = Resolver(database, self.tenants, bucket=blobs.bucket)
        self._wake = wake
        self.styles = StyleLibrary(database, blobs, self._resolver, clock=clock)
        resolver = RunResolver(database, blobs, self._resolver, training_data=training_data)
        self.runs = RunService(database, blobs, resolver, clock=clock, tenants=self.tenants, wake=wake)

    def submit(self, tenant: str, request: JobRequest, *, idempotency_key: str | None = None) -> tuple[Job, bool]:
        """Accept a job and return it, and whether it is new.

        The same Idempotency-Key with the same request returns the first job; with another it raises KeyReusedError.
        Raises RequestInvalidError where the request cannot be done.
        """
        fingerprint = _fingerprint(request)
        if idempotency_key is not None and (replayed := self._replay(tenant, idempotency_key, fingerprint)):
            return replayed, False
        job_id = f"job_{int(self._clock() * 1000):012x}{secrets.token_hex(6)}"
        spec = self._resolver.resolve(tenant, job_id, request)
        limits = self.tenants.limits(tenant)
        check_pixels(spec.options.max_px, limits=limits)
        items = len(spec.input.uris or ()) * len(spec.styles)
        try:
            with self._database.write() as connection:
                check_new_job(connection, tenant, items, limits=limits)
                job_rows.insert_job(
                    connection,
                    id=job_id,
                    tenant=tenant,
                    spec=spec,
                    fingerprint=fingerprint,
                    idempotency_key=idempotency_key,
                    now=self._clock(),
                )
        except IntegrityError:
            # Two requests with one key at once: the other was first.
            if idempotency_key is None or not (replayed := self._replay(tenant, idempotency_key, fingerprint)):
                raise
            return replayed, False
        self._wake()
        return self.job(tenant, job_id), True

    def _replay(self, tenant: str, key: str, fingerprint: str) -> Job | None:
        with self._database.read() as connection:
            found = job_rows.find_by_idempotency_key(connection, tenant, key)
        if found is None:
            return None
        if found[1] != fingerprint:
            raise KeyReusedError("The Idempotency-Key was used before with another request.")
        return found[0]

    def job(self, tenant: str, job_id: str) -> Job:
        """Return a job; raise NotFoundError where the tenant has none of that id."""
        with self._database.read() as connection:
            found = job_rows.find_job(connection, job_id, tenant=tenant)
        if found is None:
            raise NotFoundError(f"There is no job {job_id}.")
        return found

    def jobs(self, tenant: str, *, limit: int, after_id: str | None) -> list[Job]:
        """Return a tenant's jobs, newest first."""
        with self._database.read() as connection:
            return job_rows.list_jobs(connection, tenant, limit=limit, after_id=after_id)

    def items(
        self, tenant: str, job_id: str, *, limit: int, after: int, status: ItemStatus | None = None
    ) -> list[Item]:
        """Return a job's items in order."""
        self.job(tenant, job_id)
        with self._database.read() as connection:
            return item_rows.list_items(connection, job_id, limit=limit, after=after, status=status)

    def output(self, tenant: str, job_id: str, index: int) -> tuple[Item, Iterator[bytes]]:
        """Return a succeeded item and the bytes of its image."""
        self.job(tenant, job_id)
        with self._database.read() as connection:
            item = item_rows.find_item(connection, job_id, index)
        if item is None:
            raise NotFoundError(f"Job {job_id} has no item {index}.")
        if item.status is not ItemStatus.SUCCEEDED:
            raise ConflictError(f"Item {index} of {job_id} has no output: it is {item.status}.")
        return item, self._blobs.stream(BlobUri.parse(item.output))

    def preview(self, tenant: str, job_id: str, index: int) -> Iterator[bytes]:
        """Return the bytes of the last preview, a JPEG, of an item that is or was optimised."""
        self.job(tenant, job_id)
        uri = preview_uri(f"s3://{self._blobs.bucket}/{domain.scratch_key(tenant, job_id)}", index)
        try:
            return self._blobs.stream(BlobUri.parse(uri))
        except BlobNotFoundError as error:
            raise NotFoundError(f"Item {index} of {job_id} has no preview yet.") from error

    def report(self, tenant: str, job_id: str, name: str) -> Iterator[bytes]:
        """Return the bytes of a finished job's results.jsonl or errors.jsonl."""
        job = self.job(tenant, job_id)
        if not job.status.is_terminal:
            raise NotFoundError(f"Job {job_id} has no {name} yet: it is {job.status}.")
        return self._blobs.stream(BlobUri.parse(job.spec.output.prefix + name))

    def cancel(self, tenant: str, job_id: str) -> Job:
        """Stop a job: what was not begun is cancelled now, what workers have in hand is completed.

        Cancelling twice, or cancelling a finished job, changes nothing.
        """
        self.job(tenant, job_id)
        with self._database.write() as connection:
            job = job_rows.lock_job(connection, job_id)
            if job.status in _CANCELLABLE:
                job_rows.update_job(connection, job_id, status=JobStatus.CANCELLING, cancel_requested=True)
                chunk_rows.end_unbegun(connection, job_id)
                job_rows.move_counts(connection, job_id, item_rows.cancel_pending(connection, job_id))
                job_rows.finalize_if_through(connection, job_id)
        self._wake()
        return self.job(tenant, job_id)

    def new_upload(self, tenant: str) -> tuple[str, str]:
        """Return the id and the s3:// prefix of a new place for photos."""
        upload_id = f"upl_{secrets.token_hex(12)}"
        return upload_id, str(self._upload_uri(tenant, upload_id, ""))

    def upload(self, tenant: str, upload_id: str, path: str, file: IO[bytes]) -> str:
        """Store a photo at `path` in an upload and return its s3:// address."""
        if not _UPLOAD_PATTERN.fullmatch(upload_id):
            raise NotFoundError(f"There is no upload {upload_id!r}.")
        try:
            domain.check_key(path)
        except ConfigError as error:
            raise RequestInvalidError(error.message, pointer="") from error
        uri = self._upload_uri(tenant, upload_id, path)
        self._blobs.put_file(uri, file)
        return str(uri)

    def _upload_uri(self, tenant: str, upload_id: str, path: str) -> BlobUri:
        return BlobUri(self._blobs.bucket, f"tenants/{tenant}/uploads/{upload_id}/{path}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprint(request: JobRequest) -> str:
    def plain(value: Any) -> Any:
        return vars(value)

    return _sha256(json.dumps(request, default=plain, sort_keys=True))
