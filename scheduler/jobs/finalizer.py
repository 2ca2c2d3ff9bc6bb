"""Finalize jobs: write `results.jsonl` and `errors.jsonl` next to the images, then set the final status."""

import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import IO, Any, cast

from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobStatus
from nst_core.clock import Clock
from nst_core.errors import BlobError
from nst_core.protocol.chunks import CHECKPOINTS
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system import traces
from scheduler.control.setbacks import Setbacks, of_job
from scheduler.domain import codes
from scheduler.domain.addresses import scratch_key
from scheduler.domain.codes import Failure
from scheduler.domain.jobs import ERRORS_NAME, RESULTS_NAME, Job, final_status
from scheduler.jobs.methods import find_method
from scheduler.jobs.verify import Verifier
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Database
from scheduler.store.items import Item
from scheduler.store.jobs import Finalizing

log = logging.getLogger(__name__)

#: If the storage does not accept the reports of a job for this time, the job ends without them.
_GIVE_UP_S = 3600.0
#: Jobs with more items are finalized by a separate loop, because their reports take up to minutes.
LARGE_ITEMS = 50_000


class Finalizer:
    """Ends jobs whose items are all terminal."""

    def __init__(self, database: Database, blobs: BlobStore, *, clock: Clock, timer: Clock = time.monotonic) -> None:
        """`clock` is the time of day, for the end of jobs; `timer` is a monotonic clock, for pauses."""
        self._database = database
        self._blobs = blobs
        self._verifier = Verifier(database, blobs)
        self._clock = clock
        self._timer = timer
        self._small = _Queue(timer)
        self._large = _Queue(timer)

    def tick(self) -> bool:
        """Finalize each job that waits for it and has at most LARGE_ITEMS items; return whether one was ended.

        The smallest come first. A scheduler that dies in between writes the same reports to the same keys again. If
        the storage refuses the reports, or has not taken them for an hour, the job ends without them and says so.
        """
        waiting = [job for job in self._waiting() if job.total <= LARGE_ITEMS]
        ids = [job.id for job in sorted(waiting, key=lambda job: (job.total, job.id))]
        self._small.keep(ids)
        ended = [self._attempt(self._small, job_id) for job_id in ids]
        return any(ended)

    def tick_large(self) -> bool:
        """Finalize one job with more than LARGE_ITEMS items, tenants in turn; return whether it was ended."""
        waiting = [job for job in self._waiting() if job.total > LARGE_ITEMS]
        self._large.keep([job.id for job in waiting])
        ready = [job for job in waiting if self._large.setbacks.is_ready(job.id)]
        if not ready:
            return False
        job = min(ready, key=lambda job: (self._large.last_turn.get(job.tenant, 0.0), job.total, job.id))
        self._large.last_turn[job.tenant] = self._timer()
        return self._attempt(self._large, job.id)

    def _waiting(self) -> list[Finalizing]:
        with self._database.read() as connection:
            return job_rows.finalizing_jobs(connection)

    def _attempt(self, queue: "_Queue", job_id: str) -> bool:
        since = queue.since.setdefault(job_id, self._timer())
        return queue.setbacks.attempt(job_id, lambda: self._finalize(job_id, waiting_since=since))

    def _finalize(self, job_id: str, *, waiting_since: float) -> bool:
        with self._database.read() as connection:
            job = job_rows.find_job(connection, job_id)
        if job is None or job.status is not JobStatus.FINALIZING:
            return False
        problem: Failure | None = None
        try:
            if not self._verifier.verify(job):
                return False  # others have their turn before the rest
            with traces.span("finalize", parent=job.spec.traceparent):
                self._write_reports(job)
        except OutdatedError:
            return False
        except BlobError as error:
            if error.retryable and self._timer() < waiting_since + _GIVE_UP_S:
                raise
            problem = Failure(codes.REPORTS_FAILED, f"The job's reports cannot be written: {error.message}")
        self._remove_checkpoints(job)
        self._end(job, problem)
        return True

    def _remove_checkpoints(self, job: Job) -> None:
        """Remove the checkpoints of items that did not end at a worker, such as cancelled ones."""
        if not find_method(job.spec.method).has_checkpoints:
            return
        prefix = BlobUri(self._blobs.bucket, scratch_key(job.tenant, job.id) + CHECKPOINTS)
        after = ""
        try:
            while keys := self._blobs.list_keys(prefix, after=after):
                for key in keys:
                    self._blobs.delete(BlobUri(prefix.bucket, key))
                after = keys[-1]
        except BlobError as error:
            log.warning("The checkpoints of %s cannot be removed: %s", job.id, error.message)

    def _write_reports(self, job: Job) -> None:
        for name in (RESULTS_NAME, ERRORS_NAME):
            self._write(job, name, dump(report_lines(self._database, job, name)))

    def _end(self, job: Job, error: Failure | None) -> None:
        with self._database.write() as connection:
            now_job = job_rows.lock_job(connection, job.id)
            if now_job.status is JobStatus.FINALIZING and now_job.retries == job.retries:
                if error is not None and now_job.error_code is None:
                    now_job = replace(now_job, error_code=error.code, error_message=error.message)
                job_rows.update_job(
                    connection,
                    job.id,
                    status=final_status(now_job),
                    finished_at=self._clock(),
                    error_code=now_job.error_code,
                    error_message=now_job.error_message,
                )

    def _is_current(self, job: Job) -> bool:
        """Return whether a job still waits for these reports.

        Another scheduler may have ended it, and a client may have retried it, while they were written.
        """
        with self._database.read() as connection:
            now_job = job_rows.find_job(connection, job.id)
        return now_job is not None and now_job.status is JobStatus.FINALIZING and now_job.retries == job.retries

    def _write(self, job: Job, name: str, data: Iterator[bytes]) -> None:
        file = _Report(data, at_end=lambda: self._check_current(job))
        uri = BlobUri.parse(job.spec.output.prefix + name)
        self._blobs.put_file(uri, cast(IO[bytes], file), content_type="application/jsonl")

    def _check_current(self, job: Job) -> None:
        if not self._is_current(job):
            raise OutdatedError


class OutdatedError(Exception):
    """The job no longer waits for these reports."""


class _Queue:
    """What one loop remembers about the jobs that wait for it."""

    def __init__(self, timer: Clock) -> None:
        self.setbacks = Setbacks[str]("finalizing", ids=of_job, timer=timer)
        #: When a job began to wait, by job.
        self.since: dict[str, float] = {}
        #: When a job of a tenant had the last turn, by tenant.
        self.last_turn: dict[str, float] = {}

    def keep(self, ids: Sequence[str]) -> None:
        """Forget the jobs that no longer wait."""
        self.since = {job_id: self.since[job_id] for job_id in ids if job_id in self.since}


class _Report(io.RawIOBase):
    """A file, read once, made of pieces of bytes.

    A report is uploaded as it is put together. It needs no disk, which may be full, and little memory. `at_end` is
    called before the end of the file is told: if it raises, the upload is not completed.
    """

    def __init__(self, pieces: Iterator[bytes], *, at_end: Callable[[], None]) -> None:
        super().__init__()
        self._pieces = pieces
        self._at_end = at_end
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        found = bytearray(self._rest)
        while size < 0 or len(found) < size:
            piece = next(self._pieces, None)
            if piece is None:
                self._at_end()
                break
            found += piece
        cut = len(found) if size < 0 else size
        self._rest = bytes(found[cut:])
        return bytes(found[:cut])


def report_lines(
    database: Database, job: Job, name: str, *, after: int = -1, last: int | None = None
) -> Iterator[dict[str, object]]:
    """Return the lines of errors.jsonl, or of results.jsonl for the items after `after` up to `last`."""
    if name == ERRORS_NAME:
        return (error_line(item) for item in item_rows.iterate_items(database, job.id, ItemStatus.FAILED))
    method = find_method(job.spec.method)
    made_with = {style.name: {"method": method.name, **method.report(job.spec, style)} for style in job.spec.styles}
    items = item_rows.iterate_items(database, job.id, ItemStatus.SUCCEEDED, after=after, last=last)
    return (result_line(item, made_with[item.style]) for item in items)


def dump(lines: Iterable[Mapping[str, object]]) -> Iterator[bytes]:
    """Yield the bytes of a file of JSON lines, up to a thousand lines at a time."""
    rest = iter(lines)
    while piece := b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in islice(rest, 1000)):
        yield piece


def result_line(item: Item, made_with: Mapping[str, Any]) -> dict[str, object]:
    """Return the line of results.jsonl for a succeeded item."""
    return {
        "id": item.index,
        "custom_id": item.custom_id,
        "input": item.input,
        "style": item.style,
        **made_with,
        **_own_masks(item, made_with),
        "output": item.output,
        "sha256": item.sha256,
        "bytes": item.bytes,
        "width": item.width,
        "height": item.height,
        "ms": item.ms,
        "engine": item.engine,
        "precision": item.precision,
        "attempt": item.attempt,
        "warning": item.warning,
    }


def _own_masks(item: Item, made_with: Mapping[str, Any]) -> dict[str, object]:
    """Return the regions of an item whose photo has masks of its own, perhaps not of all regions."""
    if not item.regions:
        return {}
    regions = [dict(region) for region in made_with["regions"]]
    for region, mask in zip(regions, item.regions, strict=False):
        region["mask"] = mask or region["mask"]
    return {"regions": regions}


def error_line(item: Item) -> dict[str, object]:
    """Return the line of errors.jsonl for a failed item."""
    return {
        "id": item.index,
        "custom_id": item.custom_id,
        "input": item.input,
        "style": item.style,
        "code": item.error_code,
        "message": item.error_message,
    }
