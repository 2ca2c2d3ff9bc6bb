"""Plan jobs: turn what a job reads into items and chunks, page by page.

Each page is one transaction that moves the job's cursor on, so a scheduler that dies goes on where it stopped, and
of two schedulers that plan the same page only one has an effect.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, TypeVar

from nst_core.blobs import BlobStore, BlobUri
from nst_core.clock import Clock
from nst_core.errors import BlobError, ConfigError, NstError
from nst_core.image_kinds import IMAGE_SUFFIXES
from nst_core.protocol import ItemStatus
from scheduler import codes, domain, lifecycle
from scheduler.access.limits import check_planned
from scheduler.access.tenants import Places, Tenants
from scheduler.domain import Job, JobSpec, JobStatus
from scheduler.errors import QuotaExceededError
from scheduler.rates import Rates
from scheduler.setbacks import Setbacks
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Database
from scheduler.store.items import NewItem

#: Manifests that stay open between pages; jobs take turns, page by page.
_OPEN_MANIFESTS = 8
#: Pause before a job is planned again whose input could not be read.
_RETRY_S = 5.0
_UNSTORABLE = (codes.INPUT_INVALID, "The object's key has characters that cannot be stored.")
_PLANNABLE = (JobStatus.QUEUED, JobStatus.PLANNING)
#: Items of a retried job that are put into chunks in one transaction.
_CHUNKED_AT_ONCE = 2000
#: Items of a page at most: databases take so many values in a query, and a page should not hold others up for long.
_PLANNED_AT_ONCE = 10_000
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class InputEntry:
    """One photo of a job's input, or what is wrong with its line in the manifest."""

    uri: str
    custom_id: str | None = None
    #: Folder below the job's prefix, with its slash; outputs keep it.
    folder: str = ""
    error: tuple[str, str] | None = None
    #: The key as the storage lists it, where the input is a prefix.
    key: str = ""


class Planner:
    """Plans one page of one job a tick."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        rates: Rates,
        page: int,
        tenants: Tenants,
        timer: Clock = time.monotonic,
    ) -> None:
        """About `page` inputs are planned in a transaction; `tenants` know what manifests may name.

        `timer` is a steady clock, for pauses.
        """
        self._database = database
        self._blobs = blobs
        self._rates = rates
        self._page = page
        self._tenants = tenants
        self._setbacks = Setbacks[str]("planning", timer=timer, first_s=_RETRY_S)
        #: By job: the number of the next line, and the lines from there on.
        self._manifests: dict[str, tuple[int, Iterator[tuple[int, bytes]]]] = {}

    def tick(self) -> bool:
        """Plan the next page of the job that has waited longest; return whether there was one.

        A job whose input cannot be read at all fails. Where the storage does not answer, the job is tried again
        after a pause, and others have their turn.
        """
        with self._database.read() as connection:
            waiting = job_rows.plannable_jobs(connection)
        waiting = [job for job in waiting if self._setbacks.is_ready(job.id)]
        if not waiting:
            return False
        # The job with the fewest planned inputs: a short job does not wait for the listing of a long one.
        chosen = min(waiting, key=lambda job: (job.planned_inputs, job.id))
        self._setbacks.attempt(chosen.id, lambda: self._plan(chosen.id))
        return True

    def _plan(self, job_id: str) -> bool:
        with self._database.read() as connection:
            job = job_rows.find_job(connection, job_id)
            if job is None:
                return False
            sizes = self._rates.sizes(connection, job.spec, items=_known_items(job))
        if job.unchunked:
            self._chunk_page(job, sizes)
            return True
        # Whole chunks, so that the edge of a page does not leave a small one.
        most = max(1, _PLANNED_AT_ONCE // len(sizes))
        largest = min(max(sizes.values()), most)
        page = max(1, min(self._page, most) // largest) * largest
        try:
            entries = self._read_page(job, page)
            self._write_page(job, entries, is_last=len(entries) < page)
        except NstError as error:
            self._manifests.pop(job.id, None)
            if error.retryable:
                raise
            self._fail(job, error)
        return True

    def _read_page(self, job: Job, page: int) -> list[InputEntry]:
        source, start = job.spec.input, job.planned_inputs
        if source.uris is not None:
            return [InputEntry(uri=uri) for uri in source.uris[start : start + page]]
        if source.prefix is not None:
            return list(islice(list_photos(self._blobs, job.spec, after=cursor_of(job)), page))
        lines = self._open_manifest(job, page)
        return [parse_line(line, number, lambda uri: self._may_read(job, uri)) for number, line in islice(lines, page)]

    def _may_read(self, job: Job, uri: BlobUri) -> bool:
        return self._tenants.places(job.tenant).may_read(uri)

    def _open_manifest(self, job: Job, page: int) -> Iterator[tuple[int, bytes]]:
        """Return the manifest's numbered lines from the job's cursor on.

        It stays open from page to page: read anew for each page, a long manifest would take time by its square.
        """
        start, lines = self._manifests.pop(job.id, (-1, iter(())))
        if start != job.planned_inputs:
            uri = BlobUri.parse(str(job.spec.input.manifest))
            numbered = enumerate((line for line in self._blobs.lines(uri) if line.strip()), 1)
            lines = islice(numbered, job.planned_inputs, None)
        if len(self._manifests) >= _OPEN_MANIFESTS:
            self._manifests.pop(next(iter(self._manifests)))
        self._manifests[job.id] = (job.planned_inputs + page, lines)
        return lines

    def _chunk_page(self, job: Job, sizes: Mapping[str, int]) -> None:
        """Put items of a retried job, which are in no chunk, into new ones."""
        versions = {style.name: style.version for style in job.spec.styles}
        with self._database.write() as connection:
            now_job = job_rows.lock_job(connection, job.id)
            if not now_job.unchunked or now_job.status not in (*_PLANNABLE, JobStatus.RUNNING):
                return  # stopped or paused meanwhile
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

    def _write_page(self, job: Job, entries: Sequence[InputEntry], *, is_last: bool) -> None:
        places, limits = self._tenants.places(job.tenant), self._tenants.limits(job.tenant)
        planned = list(plan_items(job.spec, entries, first_input=job.planned_inputs, places=places))
        with self._database.write() as connection:
            now_job = job_rows.lock_job(connection, job.id)
            if now_job.status not in _PLANNABLE or now_job.planned_inputs != job.planned_inputs:
                return  # cancelled meanwhile, or planned by another scheduler
            check_planned(connection, now_job, len(planned), limits=limits)
            taken = item_rows.taken_outputs(connection, job.id, [item.output for item in planned])
            planned = list(refuse_taken(planned, taken))
            total = (job.planned_inputs + len(entries)) * len(job.spec.styles) if is_last else _known_items(job)
            sizes = self._rates.sizes(connection, job.spec, items=total)
            groups = list(chunked(planned, job.spec, sizes))
            item_rows.insert_planned(connection, job.id, groups, method=job.spec.method)
            values: dict[str, Any] = {
                "planned_inputs": job.planned_inputs + len(entries),
                "status": JobStatus.RUNNING if is_last else JobStatus.PLANNING,
                "planned": is_last,
            }
            if entries:
                # Escaped: the cursor has to go on also behind a key that databases do not take.
                values["planned_key"] = json.dumps(entries[-1].key)
            if is_last and now_job.counts.total + len(planned) == 0:
                values |= {"error_code": codes.NO_INPUTS, "error_message": "The job's input names no photo."}
            job_rows.update_job(connection, job.id, **values)
            failed = sum(item.error is not None for item in planned)
            added = {ItemStatus.PENDING: len(planned) - failed, ItemStatus.FAILED: failed}
            lifecycle.settle(connection, now_job, added, added=len(planned))

    def _fail(self, job: Job, error: NstError) -> None:
        """End a job whose input cannot be read; what was planned before is still done."""
        with self._database.write() as connection:
            if job_rows.lock_job(connection, job.id).status in _PLANNABLE:
                job_rows.update_job(
                    connection,
                    job.id,
                    status=JobStatus.RUNNING,
                    planned=True,
                    error_code=error.code if isinstance(error, BlobError | QuotaExceededError) else codes.INPUT_INVALID,
                    error_message=f"The job's input cannot be read: {error.message}",
                )
                job_rows.finalize_if_through(connection, job.id)


def plan_items(spec: JobSpec, entries: Sequence[InputEntry], *, first_input: int, places: Places) -> Iterator[NewItem]:
    """Yield an item for every input and style, in order; `places` are those of the job's tenant."""
    for number, entry in enumerate(entries, first_input):
        for place, style in enumerate(spec.styles):
            error = entry.error
            name = domain.output_key(
                spec.output.name,
                input_key=entry.uri,
                index=number,
                style=style.name,
                suffix=domain.output_suffix(entry.uri, spec.output.format),
            )
            output = BlobUri.parse(spec.output.prefix + entry.folder + name)
            if error is None:
                try:
                    domain.check_key(output.key)
                except ConfigError as wrong:
                    error = (codes.OUTPUT_NAME_INVALID, f"The output's name cannot be used: {wrong.message}")
                if not places.may_write(output):
                    error = (codes.OUTPUT_NAME_INVALID, f"{output} is not in a place that jobs may use.")
                if str(output) == entry.uri:
                    # Done again after a crash, the job would stylize its own result; and the photo would be lost.
                    error = (codes.OUTPUT_IS_INPUT, "The output would replace the photo itself.")
            yield NewItem(
                index=number * len(spec.styles) + place,
                input=entry.uri,
                custom_id=entry.custom_id,
                style=style.name,
                version=style.version,
                output=str(output),
                error=error,
            )


def refuse_taken(planned: Sequence[NewItem], taken: set[str]) -> Iterator[NewItem]:
    """Yield the items, failed where an earlier item of the job has the same output."""
    seen = set(taken)
    for item in planned:
        if item.error is None and item.output in seen:
            message = f"An earlier item of the job has the output {item.output} already."
            item = NewItem(**{**vars(item), "error": (codes.OUTPUT_NAME_TAKEN, message)})
        elif item.error is None:
            seen.add(item.output)
        yield item


def chunked(planned: Sequence[NewItem], spec: JobSpec, sizes: Mapping[str, int]) -> Iterator[list[NewItem]]:
    """Yield the items in groups of one style and at most its size, the first inputs first."""
    groups = []
    for place, style in enumerate(spec.styles):
        own = [item for item in planned if item.style == style.name]
        groups += [(group[0].index - place, place, group) for group in _pieces(own, sizes[style.name])]
    for _, _, group in sorted(groups, key=lambda each: each[:2]):
        yield group


def _pieces(values: Sequence[_T], size: int) -> list[list[_T]]:
    return [list(values[start : start + size]) for start in range(0, len(values), size)]


def _known_items(job: Job) -> int | None:
    """Return how many items there are to be shared out, where that is known before all of them are planned."""
    if job.unchunked:
        return job.counts.pending
    return None if job.spec.input.uris is None else len(job.spec.input.uris) * len(job.spec.styles)


def cursor_of(job: Job) -> str:
    """Return the key that a job has listed last; empty at its beginning."""
    return str(json.loads(job.planned_key)) if job.planned_key else ""


def list_photos(blobs: BlobStore, spec: JobSpec, *, after: str = "") -> Iterator[InputEntry]:
    """Yield the photos below a job's prefix whose keys come after one; what the job itself writes is none of them."""
    prefix = BlobUri.parse(str(spec.input.prefix))
    own_output = BlobUri.parse(spec.output.prefix)
    base = prefix.key[: prefix.key.rfind("/") + 1]
    while keys := blobs.list_keys(prefix, after=after):
        for key in keys:
            in_output = prefix.bucket == own_output.bucket and key.startswith(own_output.key)
            in_scratch = prefix.bucket == blobs.bucket and domain.is_scratch(key)
            if PurePosixPath(key).suffix.lower() not in IMAGE_SUFFIXES or in_output or in_scratch:
                continue
            if domain.storable(key):
                folder = key[len(base) : key.rfind("/") + 1]
                yield InputEntry(uri=str(BlobUri(prefix.bucket, key)), key=key, folder=folder)
            else:
                yield InputEntry(uri=f"s3://{prefix.bucket}/{key!a}", key=key, error=_UNSTORABLE)
        after = keys[-1]


def parse_line(line: bytes, number: int, may_read: Callable[[BlobUri], bool]) -> InputEntry:
    """Return the entry of a manifest line: a JSON object with `input` and, if wanted, `custom_id`."""
    try:
        values = json.loads(line)
        uri, custom_id = values["input"], values.get("custom_id")
        if not (isinstance(uri, str) and domain.storable(uri)):
            raise ConfigError("input has characters that no address has.")
        address = BlobUri.parse(uri)
        if custom_id is not None and not (
            isinstance(custom_id, str) and len(custom_id) <= 255 and domain.storable(custom_id)
        ):
            raise ConfigError("custom_id is no plain text of at most 255 characters.")
        if not address.key or not may_read(address):
            raise ConfigError(f"{uri} is not an object that the job may read.")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        reason = error.message if isinstance(error, ConfigError) else 'it is no JSON object with a text "input".'
        return InputEntry(uri=f"line:{number}", error=(codes.INPUT_INVALID, f"Line {number} of the manifest: {reason}"))
    return InputEntry(uri=str(address), custom_id=custom_id)
