"""Plan jobs: turn the input of a job into items and chunks, page by page.

Each page is one transaction, which also advances the job's cursor. After a crash, planning continues at the cursor. If
two schedulers plan the same page, only one of them has an effect.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from nst_core.blends import result_name
from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobStatus
from nst_core.clock import Clock
from nst_core.errors import BlobAccessError, BlobError, BlobUnavailableError, ConfigError, NstError
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system import traces
from scheduler.access.limits import check_planned
from scheduler.access.places import Permissions
from scheduler.access.tenants import Tenants
from scheduler.control.setbacks import Setbacks, of_job
from scheduler.domain import addresses, codes, naming
from scheduler.domain.codes import Failure
from scheduler.domain.errors import QuotaExceededError
from scheduler.domain.jobs import Job, JobSpec
from scheduler.jobs import lifecycle
from scheduler.jobs.inputs import Cursor, InputEntry, Page, read_prefix
from scheduler.jobs.item_times import ItemTimes
from scheduler.jobs.manifests import Manifest
from scheduler.jobs.methods import find_method
from scheduler.jobs.outputs import KnownResults, refuse_inputs, refuse_photos, refuse_taken
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Connection, Database
from scheduler.store.items import NewItem
from scheduler.store.jobs import JobChanges

#: The number of manifests that stay open between pages, because jobs take turns page by page.
_OPEN_MANIFESTS = 8
#: The pause before a job is planned again if its input could not be read.
_RETRY_S = 5.0
_PLANNABLE = (JobStatus.QUEUED, JobStatus.PLANNING)
#: Items of a retried job that are put into chunks in one transaction.
_CHUNKED_AT_ONCE = 2000
#: The maximum number of items in a page: databases limit the values of a query, and other jobs wait for the page.
_PLANNED_AT_ONCE = 10_000
_T = TypeVar("_T")


class Planner:
    """Plans one page of one job per tick."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        item_times: ItemTimes,
        page: int,
        tenants: Tenants,
        timer: Clock = time.monotonic,
    ) -> None:
        """Plan about `page` inputs in a transaction. `tenants` decides which addresses a manifest may contain.

        `timer` is a steady clock, for pauses.
        """
        self._database = database
        self._blobs = blobs
        self._item_times = item_times
        self._page = page
        self._tenants = tenants
        self._setbacks = Setbacks[str]("planning", ids=of_job, timer=timer, first_s=_RETRY_S)
        self._timer = timer
        #: The number of the last turn, by tenant.
        self._turns: dict[str, int] = {}
        #: Open manifests, by job.
        self._manifests: dict[str, Manifest] = {}

    def tick(self) -> bool:
        """Plan the next page of one job; return whether there was one.

        Tenants take turns. The next job of a tenant is the one with the fewest planned inputs, so that a short job
        does not wait for a long one. A job fails if its input cannot be read. If the storage does not answer, the job
        is tried again after a pause, and other jobs continue.
        """
        with self._database.read() as connection:
            waiting = self._setbacks.waiting()
            tenants = job_rows.plannable_tenants(connection, without=waiting)
            if not tenants:
                return False
            tenant = min(tenants, key=lambda each: (self._turns.get(each, 0), each))
            chosen = job_rows.next_plannable(connection, tenant, without=waiting)
        turn = max(self._turns.values(), default=0) + 1
        self._turns = {each: self._turns[each] for each in tenants if each in self._turns} | {tenant: turn}
        if chosen is not None:
            self._setbacks.attempt(chosen, lambda: self._plan(chosen))
        return True

    def _plan(self, job_id: str) -> bool:
        with self._database.read() as connection:
            job = job_rows.find_job(connection, job_id, inputs=True)
            if job is None:
                return False
            sizes = self._item_times.sizes(connection, job.spec, items=_known_items(job))
        if job.unchunked:
            self._place_items(job, sizes)
            return True
        # Whole chunks, so that a page does not end with a small one.
        most = max(1, _PLANNED_AT_ONCE // len(sizes))
        largest = min(max(sizes.values()), most)
        limit = max(1, min(self._page, most) // largest) * largest
        try:
            with traces.span("plan", parent=job.spec.traceparent):
                self._write_page(job, self._read_page(job, limit))
        except NstError as error:
            self._manifests.pop(job.id, None)
            if error.retryable:
                raise
            if isinstance(error, BlobAccessError):
                self._check_own_access(error)
            self._fail(job, error)
        return True

    def _check_own_access(self, refusal: BlobAccessError) -> None:
        """Raise BlobUnavailableError if the storage refuses all requests of this scheduler: the job is not to blame."""
        try:
            self._blobs.ping()
        except BlobError as error:
            message = f"{refusal.message} The storage refuses the scheduler's requests: {error.message}"
            raise BlobUnavailableError(message) from error

    def _read_page(self, job: Job, limit: int) -> Page:
        source, start, cursor = job.spec.input, job.planned_inputs, Cursor.load(job.planned_key)
        if source.uris is not None:
            uris = source.uris[start : start + limit]
            entries = [InputEntry(uri=uri) for uri in uris]
            return Page(entries=entries, cursor=cursor, is_last=start + len(uris) >= len(source.uris))
        if source.prefix is not None:
            results = KnownResults(self._database, job.tenant, job.spec)
            return read_prefix(self._blobs, job.spec, cursor, limit=limit, timer=self._timer, results=results)
        return self._manifest(job, cursor).page(
            limit, self._tenants.permissions(job.tenant).may_read, timer=self._timer
        )

    def _manifest(self, job: Job, cursor: Cursor) -> Manifest:
        """Return the job's manifest at the cursor; it stays open from page to page."""
        manifest = self._manifests.pop(job.id, None)
        if manifest is None or manifest.cursor != cursor:
            manifest = Manifest(self._blobs, BlobUri.parse(str(job.spec.input.manifest)), cursor)
        if len(self._manifests) >= _OPEN_MANIFESTS:
            self._manifests.pop(next(iter(self._manifests)))
        self._manifests[job.id] = manifest
        return manifest

    def _place_items(self, job: Job, sizes: Mapping[str, int]) -> None:
        """Put items that no chunk has into new chunks or, if the job is being stopped, cancel them."""
        with self._database.write() as connection:
            now_job = job_rows.lock_job(connection, job.id)
            if not now_job.unchunked:
                return  # another scheduler was first
            if now_job.status is JobStatus.CANCELLING:
                lifecycle.continue_stop(connection, now_job)
            elif now_job.status not in (*_PLANNABLE, JobStatus.RUNNING):
                return  # paused in the meantime
            elif now_job.reopening is not None:
                lifecycle.continue_retry(connection, now_job, now_job.reopening)
            else:
                self._chunk_page(connection, now_job, sizes)

    @staticmethod
    def _chunk_page(connection: Connection, job: Job, sizes: Mapping[str, int]) -> None:
        """Put items of a retried job into new chunks."""
        versions = {style.name: style.version for style in job.spec.styles}
        found = item_rows.list_unchunked(connection, job.id, limit=_CHUNKED_AT_ONCE)
        groups = [
            group for name in versions for group in _pieces([i for i, style in found if style == name], sizes[name])
        ]
        style_of = dict(found)
        groups.sort()  # the first inputs first
        styles = [(style_of[group[0]], versions[style_of[group[0]]]) for group in groups]
        ids = item_rows.add_chunks(connection, job.id, styles, method=job.spec.method)
        chunk_of = {index: chunk_id for group, chunk_id in zip(groups, ids, strict=True) for index in group}
        item_rows.move_to_chunks(connection, job.id, chunk_of)
        if len(found) < _CHUNKED_AT_ONCE:
            job_rows.update_job(connection, job.id, unchunked=False)

    def _write_page(self, job: Job, page: Page) -> None:
        permissions, limits = self._tenants.permissions(job.tenant), self._tenants.limits(job.tenant)
        planned = list(plan_items(job.spec, page.entries, first_input=job.planned_inputs, permissions=permissions))
        planned = list(refuse_inputs(job.spec, page.entries, planned))
        results = KnownResults(self._database, job.tenant, job.spec)
        planned = list(refuse_photos(job.spec, planned, blobs=self._blobs, results=results))
        inputs = job.planned_inputs + len(page.entries)
        with self._database.write() as connection:
            now_job = job_rows.lock_job(connection, job.id)
            at = (now_job.planned_inputs, now_job.planned_key)
            if now_job.status not in _PLANNABLE or at != (job.planned_inputs, job.planned_key):
                return  # cancelled in the meantime, or planned by another scheduler
            check_planned(connection, now_job, len(planned), limits=limits)
            taken = item_rows.taken_outputs(connection, job.id, [item.output for item in planned])
            planned = list(refuse_taken(planned, taken))
            total = inputs * len(job.spec.styles) if page.is_last else _known_items(job)
            sizes = self._item_times.sizes(connection, job.spec, items=total)
            groups = list(chunked(planned, job.spec, sizes))
            item_rows.insert_planned(connection, job.id, groups, method=job.spec.method)
            values: JobChanges = {
                "planned_inputs": inputs,
                "planned_key": page.cursor.dump(),
                "status": JobStatus.RUNNING if page.is_last else JobStatus.PLANNING,
                "planned": page.is_last,
            }
            if page.is_last and now_job.counts.total + len(planned) == 0:
                values |= JobChanges(error_code=codes.NO_INPUTS, error_message=no_photo(page.cursor))
            job_rows.update_job(connection, job.id, **values)
            failed = sum(item.error is not None for item in planned)
            added = {ItemStatus.PENDING: len(planned) - failed, ItemStatus.FAILED: failed}
            lifecycle.settle(connection, now_job, added, added=len(planned))

    def _fail(self, job: Job, error: NstError) -> None:
        """End a job whose input cannot be read; items that were planned before are still processed."""
        with self._database.write() as connection:
            now_job = job_rows.lock_job(connection, job.id)
            if now_job.status in _PLANNABLE:
                job_rows.update_job(
                    connection,
                    job.id,
                    status=JobStatus.RUNNING,
                    planned=True,
                    planned_key=replace(Cursor.load(now_job.planned_key), broken=True).dump(),
                    error_code=input_code(error),
                    error_message=f"The job's input cannot be read: {error.message}",
                )
                job_rows.finalize_if_through(connection, job.id)


def input_code(error: NstError) -> str:
    """Return the code of a job whose input cannot be read because of an error."""
    return error.code if isinstance(error, BlobError | QuotaExceededError) else codes.INPUT_INVALID


def no_photo(cursor: Cursor) -> str:
    """Return the message for an input without photos."""
    if not cursor.skipped:
        return "The job's input names no photo."
    return f"The job's input names no photo: {cursor.skipped:,} objects have no suffix of a picture."


def plan_items(
    spec: JobSpec, entries: Sequence[InputEntry], *, first_input: int, permissions: Permissions
) -> Iterator[NewItem]:
    """Yield an item for every input and style, in order; `permissions` are those of the job's tenant."""
    for number, entry in enumerate(entries, first_input):
        unreadable = entry.error or _unreadable(entry, permissions) or _mask_error(spec, entry)
        for place, style in enumerate(spec.styles):
            error = unreadable
            name = naming.output_key(
                spec.output.name,
                input_key=entry.uri,
                index=number,
                style=result_name(style.name) if style.parts else style.name,
                suffix=naming.output_suffix(entry.uri, spec.output.format),
            )
            output = BlobUri.parse(spec.output.prefix + entry.folder + name)
            if error is None:
                try:
                    addresses.check_key(output.key)
                except ConfigError as wrong:
                    error = Failure(codes.OUTPUT_NAME_INVALID, f"The output's name cannot be used: {wrong.message}")
                if not permissions.may_write(output):
                    error = Failure(codes.OUTPUT_NAME_INVALID, f"{output} is not in a place that jobs may use.")
            yield NewItem(
                index=number * len(spec.styles) + place,
                input=entry.uri,
                custom_id=entry.custom_id,
                mask=entry.mask,
                regions=entry.regions,
                style=style.name,
                version=style.version,
                output=str(output),
                error=error,
            )


def _unreadable(entry: InputEntry, permissions: Permissions) -> Failure | None:
    """Return what is wrong with the address of a photo from a request, a listing or a manifest."""
    uri = BlobUri.parse(entry.uri)
    try:
        addresses.check_address(uri.bucket, uri.key)
    except ConfigError as wrong:
        return Failure(codes.INPUT_INVALID, f"The photo's address cannot be used: {wrong.message}")
    if not permissions.may_read(uri):
        return Failure(codes.INPUT_INVALID, f"{uri} is not in a place that jobs may use.")
    return None


def _mask_error(spec: JobSpec, entry: InputEntry) -> Failure | None:
    """Return what is wrong with the masks of a photo for the job's method and its regions."""
    if (entry.mask or entry.regions) and not find_method(spec.method).takes_masks:
        return Failure(codes.INPUT_INVALID, f"The method {spec.method} takes no masks.")
    named, known = len(entry.regions), len(spec.options.regions)
    if named > known:
        return Failure(
            codes.INPUT_INVALID, f"The line has more masks of regions than the job has regions: {named} and {known}."
        )
    return None


def chunked(planned: Sequence[NewItem], spec: JobSpec, sizes: Mapping[str, int]) -> Iterator[list[NewItem]]:
    """Yield the items in groups of one style, each up to the chunk size of the style, in the order of the inputs."""
    groups = []
    for place, style in enumerate(spec.styles):
        own = [item for item in planned if item.style == style.name]
        groups += [(group[0].index - place, place, group) for group in _pieces(own, sizes[style.name])]
    for _, _, group in sorted(groups, key=lambda each: each[:2]):
        yield group


def _pieces(values: Sequence[_T], size: int) -> list[list[_T]]:
    return [list(values[start : start + size]) for start in range(0, len(values), size)]


def _known_items(job: Job) -> int | None:
    """Return the number of items to put into chunks, or None if it is not known before all of them are planned."""
    if job.unchunked:
        return job.counts.pending
    return None if job.input_count is None else job.input_count * len(job.spec.styles)
