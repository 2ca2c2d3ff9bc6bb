"""Finalize jobs: write `results.jsonl` and `errors.jsonl` beside the images, then give the job its last status."""

import json
import tempfile
from collections.abc import Iterable

from nst_core.blobs import BlobStore, BlobUri
from nst_core.clock import Clock
from nst_core.protocol import ItemStatus
from scheduler.domain import ERRORS_NAME, RESULTS_NAME, Job, JobStatus, final_status
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Database
from scheduler.store.items import Item

#: Reports larger than this are put together on disk.
_IN_MEMORY_BYTES = 8 * 2**20


class Finalizer:
    """Ends jobs whose items are all terminal."""

    def __init__(self, database: Database, blobs: BlobStore, *, clock: Clock) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock

    def tick(self) -> bool:
        """Finalize the jobs that wait for it; return whether there were any.

        A scheduler that dies in between writes the same reports to the same keys again.
        """
        with self._database.read() as connection:
            waiting = job_rows.jobs_with_status(connection, (JobStatus.FINALIZING,))
        for job in waiting:
            self._finalize(job)
        return bool(waiting)

    def _finalize(self, job: Job) -> None:
        versions = {style.name: style.version for style in job.spec.styles}
        succeeded = item_rows.iterate_items(self._database, job.id, ItemStatus.SUCCEEDED)
        failed = item_rows.iterate_items(self._database, job.id, ItemStatus.FAILED)
        self._write(job, RESULTS_NAME, (result_line(item, versions[item.style]) for item in succeeded))
        self._write(job, ERRORS_NAME, (error_line(item) for item in failed))
        with self._database.write() as connection:
            now_job = job_rows.lock_job(connection, job.id)
            if now_job.status is JobStatus.FINALIZING:
                status = final_status(now_job)
                job_rows.update_job(connection, job.id, status=status, finished_at=self._clock())

    def _write(self, job: Job, name: str, lines: Iterable[dict[str, object]]) -> None:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
            for line in lines:
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.seek(0)
            uri = BlobUri.parse(job.spec.output.prefix + name)
            self._blobs.put_file(uri, file, content_type="application/jsonl")


def result_line(item: Item, version: str) -> dict[str, object]:
    """Return what results.jsonl says of a succeeded item."""
    return {
        "id": item.index,
        "custom_id": item.custom_id,
        "input": item.input,
        "style": item.style,
        "style_version": version,
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
