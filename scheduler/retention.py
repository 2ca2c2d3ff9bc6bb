"""Retention: delete what nobody will ask for any more: old jobs, old Idempotency-Keys, old measurements.

Of a job its rows are deleted, and what it has in scratch; its results stay where they are.
"""

import logging

from nst_core.blobs import BlobStore, BlobUri
from nst_core.clock import Clock
from nst_core.errors import BlobError
from scheduler.domain import Job, scratch_key
from scheduler.idempotency import Idempotency
from scheduler.rates import Rates
from scheduler.store import chunks as chunk_rows
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store import request_keys
from scheduler.store.database import Database

log = logging.getLogger(__name__)

_DAY_S = 24 * 3600.0
#: Rows that are deleted in one transaction: others wait for it.
_ROWS = 1000
#: Pause between two looks for what is old.
_PAUSE_S = 60.0


class Retention:
    """Deletes what is old, a little at a time."""

    def __init__(self, database: Database, blobs: BlobStore, *, clock: Clock, retention_days: float | None) -> None:
        """Jobs are deleted `retention_days` after their end; None: never."""
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._retention_days = retention_days
        self._idempotency = Idempotency(database, clock=clock)
        self._rates = Rates(clock=clock)
        self._not_before = 0.0

    def tick(self) -> bool:
        """Delete something that is old; return whether there is more, perhaps."""
        if self._clock() < self._not_before:
            return False
        if self._idempotency.prune() or self._prune_jobs():
            return True
        with self._database.write() as connection:
            self._rates.tidy(connection)
        self._not_before = self._clock() + _PAUSE_S
        return False

    def _prune_jobs(self) -> bool:
        if self._retention_days is None:
            return False
        before = self._clock() - self._retention_days * _DAY_S
        with self._database.read() as connection:
            found = job_rows.prunable_jobs(connection, finished_before=before)
        pruned = [self._prune_job(job, before) for job in found]
        return any(pruned)

    def _prune_job(self, found: Job, before: float) -> bool:
        """Delete a job; return False where it was retried meanwhile, or its scratch cannot be removed now.

        It is hidden first: nobody sees it half deleted, and a scheduler that dies goes on where it stopped.
        """
        with self._database.write() as connection:
            job = job_rows.find_job(connection, found.id, lock=True)
            if job is None or not job.status.is_terminal or (job.finished_at or before) > before:
                return False
            job_rows.update_job(connection, job.id, pruned=True, client_id=None)
        try:
            self._remove_scratch(job)
        except BlobError as error:
            log.warning("The scratch of %s cannot be removed now: %s", job.id, error.message)
            return False
        for delete in (item_rows.delete_items, chunk_rows.delete_chunks):
            while True:
                with self._database.write() as connection:
                    if delete(connection, job.id, limit=_ROWS) < _ROWS:
                        break
        with self._database.write() as connection:
            request_keys.forget_resource(connection, job.id)
            job_rows.delete_job(connection, job.id)
        log.info("%s was deleted: it ended %g days ago", job.id, self._retention_days or 0.0)
        return True

    def _remove_scratch(self, job: Job) -> None:
        prefix = BlobUri(self._blobs.bucket, scratch_key(job.tenant, job.id))
        after = ""
        # Behind the last key each time: some servers still list what was removed.
        while keys := self._blobs.list_keys(prefix, after=after):
            for key in keys:
                self._blobs.delete(BlobUri(prefix.bucket, key))
            after = keys[-1]
