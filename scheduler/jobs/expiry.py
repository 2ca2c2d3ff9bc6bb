"""Expire jobs whose deadline has passed."""

import logging

from nst_core.client.resources.jobs import StopReason
from nst_core.clock import Clock
from scheduler.control.setbacks import Setbacks, of_job
from scheduler.domain.jobs import STOPPABLE
from scheduler.jobs import lifecycle
from scheduler.store import jobs as job_rows
from scheduler.store.database import Database

log = logging.getLogger(__name__)


class Expirer:
    """Stops jobs at their deadlines."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._setbacks = Setbacks[str]("expiry", ids=of_job)

    def tick(self) -> bool:
        """Stop the jobs whose deadline has passed; return whether there was one."""
        now = self._clock()
        with self._database.read() as connection:
            found = job_rows.overdue_jobs(connection, STOPPABLE, now=now, without=self._setbacks.waiting())
        return self._setbacks.attempt_each(found, lambda job_id: self._stop(job_id, now))

    def _stop(self, job_id: str, now: float) -> bool:
        with self._database.write() as connection:
            job = job_rows.lock_job(connection, job_id)
            # Another scheduler may have stopped it, and a retry removes the deadline.
            if job.deadline is not None and job.deadline <= now:
                log.info("%s has expired", job_id)
                lifecycle.stop(connection, job, StopReason.DEADLINE)
        return True
