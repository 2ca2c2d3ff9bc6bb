"""The operations of the API, independent of HTTP: those of jobs, and the services of the other resources."""

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence

from nst_core.blends import name_of, parse_blend
from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import Check, JobRequest, StopReason
from nst_core.clock import Clock
from nst_core.errors import BlobNotFoundError, BlobReplacedError, ConfigError
from nst_core.protocol.chunks import preview_uri
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system.logs import about
from scheduler.access.idempotency import Accepted, Claim, Idempotency, fingerprint, looked_up
from scheduler.access.keys import Keys
from scheduler.access.limits import check_new_job, check_pixels, check_retried
from scheduler.access.tenants import Tenants
from scheduler.domain import addresses
from scheduler.domain import jobs as domain
from scheduler.domain.errors import (
    ConflictError,
    JobExistsError,
    NotFoundError,
    OutputReplacedError,
    RequestInvalidError,
    UnfinishedError,
)
from scheduler.domain.jobs import Job
from scheduler.jobs import lifecycle
from scheduler.jobs.dry_run import Checker
from scheduler.jobs.finalizer import dump, report_lines
from scheduler.jobs.item_times import ItemTimes
from scheduler.jobs.methods import find_method
from scheduler.jobs.requests import JobResolver, deadline_at
from scheduler.jobs.result_zip import ResultZip, ResultZipper
from scheduler.runs.requests import RunResolver
from scheduler.runs.service import RunService
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Connection, Database
from scheduler.store.errors import RowConflictError
from scheduler.store.items import Item
from scheduler.store.jobs import JobFilter, NewJob
from scheduler.styles.library import StyleLibrary
from scheduler.uploads.service import UploadService

log = logging.getLogger(__name__)


class JobService:
    """The scheduler's operations. Each of them sees only what belongs to the tenant that asks."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        clock: Clock,
        tenants: Tenants,
        idempotency: Idempotency,
        item_times: ItemTimes,
        max_attempts: int,
        wake: Callable[[], None] = lambda: None,
        training_data: str | None = None,
        timer: Clock = time.monotonic,
    ) -> None:
        """`wake` is called when there is work for the control loops; `timer` is a steady clock.

        `max_attempts` is for jobs, and `training_data`, the s3:// address of photos, for runs that have none of their
        own.
        """
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self.tenants = tenants
        self.keys = Keys(database, clock=clock, limits=self.tenants.limits)
        self._resolver = JobResolver(database, self.tenants, bucket=blobs.bucket, max_attempts=max_attempts)
        self._wake = wake
        self._idempotency = idempotency
        self._zipper = ResultZipper(database, blobs)
        self._checker = Checker(
            database, blobs, self._resolver, tenants, clock=clock, item_times=item_times, timer=timer
        )
        self.uploads = UploadService(database, blobs, clock=clock, tenants=self.tenants, wake=wake)
        self.styles = StyleLibrary(database, blobs, self.tenants, clock=clock)
        resolver = RunResolver(database, blobs, self.tenants, training_data=training_data)
        self.runs = RunService(
            database, blobs, resolver, clock=clock, tenants=tenants, idempotency=idempotency, wake=wake
        )

    def submit(self, tenant: str, request: JobRequest, *, idempotency_key: str | None = None) -> Accepted[Job]:
        """Accept a job.

        The same Idempotency-Key with the same request returns the first job; see `Idempotency.once` and `looked_up`
        for the errors.
        Raises RequestInvalidError if the request is invalid.
        """
        accepted = self._idempotency.once(
            tenant,
            idempotency_key,
            operation="job",
            fingerprint=fingerprint(request),
            make=lambda claim: self._accept(tenant, request, claim),
        )
        if accepted.is_new:
            self._wake()
        return looked_up(accepted, lambda job_id: self.job(tenant, job_id))

    def put(self, tenant: str, client_id: str, request: JobRequest) -> Accepted[Job]:
        """Accept a job under an id that the client chose, once.

        Raises JobExistsError if another request has made a job with this id, and RequestInvalidError if the request is
        invalid.
        """
        try:
            domain.check_client_id(client_id)
        except ConfigError as error:
            raise RequestInvalidError(error.message, pointer="/client_id") from error
        if known := self._known(tenant, client_id, request):
            return Accepted(known, is_new=False)
        try:
            job_id = self._accept(tenant, request, Claim(tenant=tenant), client_id=client_id)
        except RowConflictError:
            # Of two concurrent requests with this id, the other one was first.
            if known := self._known(tenant, client_id, request):
                return Accepted(known, is_new=False)
            raise
        self._wake()
        return Accepted(self.job(tenant, job_id), is_new=True)

    def _known(self, tenant: str, client_id: str, request: JobRequest) -> Job | None:
        with self._database.read() as connection:
            job = job_rows.find_job(connection, client_id, tenant=tenant)
            if job is not None and job_rows.find_fingerprint(connection, job.id) != fingerprint(request):
                raise JobExistsError(f"There is a job {client_id} already, which another request has made.")
        return job

    def _accept(self, tenant: str, request: JobRequest, claim: Claim, *, client_id: str | None = None) -> str:
        job_id = f"job_{int(self._clock() * 1000):012x}{secrets.token_hex(6)}"
        spec = self._resolver.resolve(tenant, job_id, request)
        limits = self.tenants.limits(tenant)
        method = find_method(spec.method)
        check_pixels(
            method.longest_side_px(spec),
            upscale=spec.options.upscale,
            pointer=method.longest_side_pointer,
            limits=limits,
        )
        new = NewJob(
            id=job_id,
            tenant=tenant,
            spec=spec,
            fingerprint=fingerprint(request),
            client_id=client_id,
            deadline=deadline_at(request, self._clock()),
            priority=request.priority,
        )
        items = len(spec.input.uris or ()) * len(spec.styles)
        with self._database.write() as connection:
            check_new_job(connection, tenant, items, limits=limits)
            job_rows.insert_job(connection, new, now=self._clock())
            claim.complete(connection, job_id)
        with about(job_id=job_id):
            log.info("%s was accepted: %s", job_id, method.name)
        return job_id

    def check(self, tenant: str, request: JobRequest, *, objects: bool = True) -> Check:
        """Return what a job would do, and what is wrong with it, without accepting it.

        Without `objects`, photos are not looked up in the storage.
        """
        return self._checker.check(tenant, request, objects=objects)

    def job(self, tenant: str, job_id: str) -> Job:
        """Return a job by its id or the client's id; raise NotFoundError if the tenant has no such job."""
        with self._database.read() as connection:
            return _found(job_rows.find_job(connection, job_id, tenant=tenant), job_id)

    def inputs(self, tenant: str, job_id: str) -> Sequence[str]:
        """Return the addresses of a job's inline photos; empty if its input is a prefix or a manifest."""
        with self._database.read() as connection:
            found = _found(job_rows.find_job(connection, job_id, tenant=tenant, inputs=True), job_id)
        return found.spec.input.uris or ()

    def jobs(
        self,
        tenant: str,
        *,
        limit: int,
        after_id: str | None,
        only: JobFilter = JobFilter(),  # noqa: B008  Frozen
    ) -> list[Job]:
        """Return a tenant's jobs that match a filter, newest first."""
        with self._database.read() as connection:
            return job_rows.list_jobs(connection, tenant, limit=limit, after_id=after_id, only=only)

    def items(
        self,
        tenant: str,
        job_id: str,
        *,
        limit: int,
        after: int,
        status: ItemStatus | None = None,
        code: str | None = None,
        style: str | None = None,
    ) -> list[Item]:
        """Return a job's items in order, optionally only those with a status, an error code or a style.

        A style is named as the job shows it; the shares of a blend may be written in other ways too.
        """
        job = self.job(tenant, job_id)
        if style is not None:
            names = {each.name for each in job.spec.styles}
            style = style if style in names else _blend_name(style)
            if style not in names:
                return []  # without a look at all of them
        with self._database.read() as connection:
            return item_rows.list_items(
                connection, job.id, limit=limit, after=after, status=status, code=code, style=style
            )

    def output(self, tenant: str, job_id: str, index: int) -> tuple[Item, Iterator[bytes]]:
        """Return a succeeded item and the bytes of its image."""
        job = self.job(tenant, job_id)
        with self._database.read() as connection:
            item = item_rows.find_item(connection, job.id, index)
        if item is None:
            raise NotFoundError(f"Job {job_id} has no item {index}.")
        if item.status is not ItemStatus.SUCCEEDED:
            raise ConflictError(f"Item {index} of {job_id} has no output: it is {item.status}.")
        try:
            return item, self._blobs.stream(BlobUri.parse(item.output), nbytes=item.bytes)
        except BlobReplacedError as error:
            raise OutputReplacedError(error.message) from error

    def preview(self, tenant: str, job_id: str, index: int) -> Iterator[bytes]:
        """Return the bytes of the latest preview, a JPEG, of an item."""
        job = self.job(tenant, job_id)
        uri = preview_uri(f"s3://{self._blobs.bucket}/{addresses.scratch_key(tenant, job.id)}", index)
        try:
            return self._blobs.stream(BlobUri.parse(uri))
        except BlobNotFoundError as error:
            raise NotFoundError(f"Item {index} of {job_id} has no preview yet.") from error

    def report(self, tenant: str, job_id: str, name: str) -> Iterator[bytes]:
        """Return the bytes of a finished job's results.jsonl or errors.jsonl; raise ConflictError before its end.

        They are made from the database. In the storage, another job with the same output prefix may have replaced
        them.
        """
        job = self.job(tenant, job_id)
        if not job.status.is_terminal:
            raise ConflictError(f"Job {job_id} has no {name} yet: it is {job.status}.")
        return dump(report_lines(self._database, job, name))

    def zip(self, tenant: str, job_id: str, *, after: int, limit: int) -> ResultZip:
        """Return the images and reports of a finished job, or a part of them, as a zip file; see `ResultZipper.zip`."""
        job = self.job(tenant, job_id)
        if not job.status.is_terminal:
            raise ConflictError(f"Job {job_id} has no results yet: it is {job.status}.")
        return self._zipper.zip(job, after=after, limit=limit)

    def cancel(self, tenant: str, job_id: str) -> Job:
        """Stop a job: unsent items are cancelled now, sent but unstarted ones soon; started ones are completed.

        Cancelling twice, or cancelling a finished job, changes nothing.
        """
        return self._change(tenant, job_id, lambda db, job: lifecycle.stop(db, job, StopReason.CANCEL))

    def pause(self, tenant: str, job_id: str) -> Job:
        """Stop sending a job's items to workers; raise ConflictError if it has ended or is ending."""
        return self._change(tenant, job_id, lifecycle.pause)

    def resume(self, tenant: str, job_id: str) -> Job:
        """Resume a paused job; raise ConflictError if it has ended or is ending."""
        return self._change(tenant, job_id, lifecycle.resume)

    def retry(
        self,
        tenant: str,
        job_id: str,
        *,
        codes: Sequence[str] | None = None,
        cancelled: bool = False,
        idempotency_key: str | None = None,
    ) -> Accepted[Job]:
        """Retry the failed items of an ended job, or those with one of the codes, and optionally the cancelled ones.

        Raises ConflictError while the job runs, NothingToRetryError if there is no such item, and with a key what
        `Idempotency.once` and `looked_up` raise.
        """

        def retry(connection: Connection, job: Job, claim: Claim) -> None:
            later = lifecycle.retry(connection, job, codes=codes, cancelled=cancelled, now=self._clock())
            check_retried(connection, tenant, later, limits=self.tenants.limits(tenant))
            claim.complete(connection, job.id)

        # The job is looked up there, not before: a repeat after its deletion is told about that.
        accepted = self._idempotency.once(
            tenant,
            idempotency_key,
            operation="retry",
            fingerprint=fingerprint(job_id, None if codes is None else sorted(codes), cancelled),
            make=lambda claim: self._change(tenant, job_id, lambda db, job: retry(db, job, claim)).id,
        )
        return looked_up(accepted, lambda id: self.job(tenant, id))

    def delete(self, tenant: str, job_id: str, *, results: bool = False) -> None:
        """Delete a job that has ended, and its images if `results` is set. It is hidden now and removed soon.

        Raises NotFoundError, and UnfinishedError if the job has not ended.
        """
        with self._database.write() as connection:
            job = _found(job_rows.find_job(connection, job_id, tenant=tenant, lock=True), job_id)
            if not job.status.is_terminal:
                raise UnfinishedError(f"Job {job_id} is {job.status}: cancel it, and delete it when it has ended.")
            job_rows.update_job(connection, job.id, pruned=True, client_id=None, with_results=results)
        self._wake()

    def _change(self, tenant: str, job_id: str, change: Callable[[Connection, Job], None]) -> Job:
        with self._database.write() as connection:
            job = _found(job_rows.find_job(connection, job_id, tenant=tenant, lock=True), job_id)
            change(connection, job)
        self._wake()
        return self.job(tenant, job.id)


def _blend_name(text: str) -> str | None:
    """Return what a blend is called in jobs, or None for any other text."""
    try:
        return name_of(parse_blend(text))
    except ConfigError:
        return None


def _found(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise NotFoundError(f"There is no job {job_id}.")
    return job
