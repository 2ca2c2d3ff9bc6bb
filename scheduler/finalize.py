"""Finalize jobs: write `results.jsonl` and `errors.jsonl` beside the images, then give the job its last status."""

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from nst_core.blobs import BlobStore, BlobUri
from nst_core.clock import Clock
from nst_core.errors import BlobError
from nst_core.protocol import CHECKPOINTS, ItemStatus, Method, StyleRef
from scheduler import codes
from scheduler.domain import ERRORS_NAME, RESULTS_NAME, Job, JobSpec, JobStatus, final_status, scratch_key
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Database
from scheduler.store.items import Item

log = logging.getLogger(__name__)

#: For so long a storage that does not answer is asked again to take a job's reports.
_GIVE_UP_S = 3600.0
#: Reports larger than this are put together on disk.
_IN_MEMORY_BYTES = 8 * 2**20


class Finalizer:
    """Ends jobs whose items are all terminal."""

    def __init__(self, database: Database, blobs: BlobStore, *, clock: Clock) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._waiting_since: dict[str, float] = {}

    def tick(self) -> bool:
        """Finalize the jobs that wait for it; return whether one was ended.

        A scheduler that dies in between writes the same reports to the same keys again. Where the storage refuses
        them, or has not taken them for an hour, the job ends without them and says so; no other job waits for it.
        """
        with self._database.read() as connection:
            waiting = job_rows.jobs_with_status(connection, (JobStatus.FINALIZING,))
        self._waiting_since = {job.id: self._waiting_since.get(job.id, self._clock()) for job in waiting}
        ended = [self._try_to_finalize(job) for job in waiting]
        return any(ended)

    def _try_to_finalize(self, job: Job) -> bool:
        problem: tuple[str, str] | None = None
        try:
            self._write_reports(job)
        except BlobError as error:
            if error.retryable and self._clock() < self._waiting_since[job.id] + _GIVE_UP_S:
                log.warning("The reports of %s cannot be written now: %s", job.id, error.message)
                return False
            problem = (codes.REPORTS_FAILED, f"The job's reports cannot be written: {error.message}")
        self._remove_checkpoints(job)
        self._end(job, problem)
        return True

    def _remove_checkpoints(self, job: Job) -> None:
        """Remove what items left that ended away from a worker, such as those that were cancelled."""
        if job.spec.method is not Method.OPTIMIZE:
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

    def _end(self, job: Job, error: tuple[str, str] | None) -> None:
        with self._database.write() as connection:
            now_job = job_rows.lock_job(connection, job.id)
            if now_job.status is JobStatus.FINALIZING and now_job.retries == job.retries:
                if error is not None and now_job.error_code is None:
                    now_job = replace(now_job, error_code=error[0], error_message=error[1])
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

        Another scheduler may have ended it, and a client retried it, while they were put together.
        """
        with self._database.read() as connection:
            now_job = job_rows.find_job(connection, job.id)
        return now_job is not None and now_job.status is JobStatus.FINALIZING and now_job.retries == job.retries

    def _write(self, job: Job, name: str, data: Iterable[bytes]) -> None:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
            file.writelines(data)
            if not self._is_current(job):
                return
            file.seek(0)
            uri = BlobUri.parse(job.spec.output.prefix + name)
            self._blobs.put_file(uri, file, content_type="application/jsonl")


def report_lines(
    database: Database, job: Job, name: str, *, after: int = -1, last: int | None = None
) -> Iterator[dict[str, object]]:
    """Return the lines of results.jsonl, of the items after `after` up to `last`, or those of errors.jsonl."""
    if name == ERRORS_NAME:
        return (error_line(item) for item in item_rows.iterate_items(database, job.id, ItemStatus.FAILED))
    made_with = {style.name: describe(job.spec, style) for style in job.spec.styles}
    items = item_rows.iterate_items(database, job.id, ItemStatus.SUCCEEDED, after=after, last=last)
    return (result_line(item, made_with[item.style]) for item in items)


def dump(lines: Iterable[Mapping[str, object]]) -> Iterator[bytes]:
    """Yield the bytes of a file of JSON lines, up to a thousand lines at once."""
    rest = iter(lines)
    while piece := b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in islice(rest, 1000)):
        yield piece


def describe(spec: JobSpec, style: StyleRef) -> dict[str, object]:
    """Return what results.jsonl says of how the items of a style were made."""
    if spec.optimize is None:
        return {"method": spec.method, "style_version": style.version}
    return {"method": spec.method, "painting": spec.painting(style.name), "preset": spec.optimize.preset}


def result_line(item: Item, made_with: Mapping[str, object]) -> dict[str, object]:
    """Return what results.jsonl says of a succeeded item."""
    return {
        "id": item.index,
        "custom_id": item.custom_id,
        "input": item.input,
        "style": item.style,
        **made_with,
        "output": item.output,
        "sha256": item.sha256,
        "bytes": item.bytes,
        "width": item.width,
        "height": item.height,
        "ms": item.ms,
        "attempt": item.attempt,
    }


def error_line(item: Item) -> dict[str, object]:
    """Return what errors.jsonl says of a failed item."""
    return {
        "id": item.index,
        "custom_id": item.custom_id,
        "input": item.input,
        "style": item.style,
        "code": item.error_code,
        "message": item.error_message,
    }
