"""Dispatch: keep a short window of chunks in Redis, shared fairly between jobs.

The window is short, so that cancelling acts at once and a job of ten images does not wait for one of a million.
"""

import logging

from nst_core.broker import Broker
from nst_core.clock import Clock
from nst_core.protocol import StyleRef, StylizeChunk
from scheduler.domain import ChunkStatus, Job, JobStatus
from scheduler.store import access, items
from scheduler.store import chunks as chunk_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Database

log = logging.getLogger(__name__)


class Dispatcher:
    """Sends chunks to the workers' queue."""

    def __init__(
        self, database: Database, broker: Broker, *, clock: Clock, window: int, dispatch_lease_s: float
    ) -> None:
        self._database = database
        self._broker = broker
        self._clock = clock
        self._window = window
        self._lease_s = dispatch_lease_s
        self._announced: set[str] = set()

    def tick(self) -> bool:
        """Fill the window; return whether a chunk was sent."""
        with self._database.read() as connection:
            jobs = job_rows.jobs_with_status(connection, (JobStatus.PLANNING, JobStatus.RUNNING))
            active = chunk_rows.active_counts(connection)
        waiting = [job for job in jobs if job.counts.pending]
        room = self._window - sum(counts.get(ChunkStatus.DISPATCHED, 0) for counts in active.values())
        share = {job.id: sum(active.get(job.id, {}).values()) for job in waiting}
        sent = False
        while room > 0 and waiting:
            job = min(waiting, key=lambda job: (share[job.id], job.id))
            message = self._claim(job)
            if message is None:
                waiting.remove(job)
                continue
            # Claimed first, sent second: a scheduler that dies between the two leaves a claim that runs out,
            # never a message that nobody knows of.
            self._broker.send_chunk(message)
            share[job.id] += 1
            room -= 1
            sent = True
        return sent

    def announce_cancelled(self) -> None:
        """Tell workers of jobs that are being cancelled."""
        with self._database.read() as connection:
            cancelling = job_rows.jobs_with_status(connection, (JobStatus.CANCELLING, JobStatus.FINALIZING))
        ids = {job.id for job in cancelling if job.cancel_requested}
        for job_id in ids - self._announced:
            self._broker.cancel_job(job_id)
        self._announced = ids

    def _claim(self, job: Job) -> StylizeChunk | None:
        now = self._clock()
        with self._database.write() as connection:
            chunk = chunk_rows.next_chunk(connection, job.id, now=now)
            if chunk is None:
                return None
            attempt = chunk_rows.claim(connection, chunk, now=now, lease_s=self._lease_s)
            if attempt is None:
                return None
            return StylizeChunk(
                job_id=job.id,
                chunk_id=chunk.id,
                attempt=attempt,
                style=StyleRef(name=chunk.style, version=chunk.version),
                weights=access.find_weights(connection, chunk.version),
                options=job.spec.options,
                items=tuple(items.chunk_items(connection, chunk.id)),
            )
