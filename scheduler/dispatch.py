"""Dispatch: keep a short window of chunks in Redis, shared fairly between jobs.

The window is short, so that cancelling acts at once and a job of ten images does not wait for one of a million.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from nst_core.broker import Broker
from nst_core.clock import Clock
from nst_core.protocol import ChunkMessage, Method, OptimizeChunk, StyleRef, StylizeChunk
from scheduler import domain
from scheduler.domain import Job, JobStatus
from scheduler.store import access, items
from scheduler.store import chunks as chunk_rows
from scheduler.store import jobs as job_rows
from scheduler.store.chunks import Chunk
from scheduler.store.database import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Window:
    """What waits in the queue of one method."""

    #: At most so many.
    chunks: int
    #: A chunk that no worker has begun for so long is sent again.
    lease_s: float


class Dispatcher:
    """Sends chunks to the workers' queues.

    Each method has a queue and a window of its own: chunks that take minutes do not fill the window of those that
    take seconds.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        *,
        clock: Clock,
        bucket: str,
        windows: Mapping[Method, Window],
        max_attempts: int = 3,
    ) -> None:
        """`bucket` is the one that tenants share, where jobs have their previews and checkpoints.

        `max_attempts` is how often a chunk is tried before its last failure counts.
        """
        self._database = database
        self._broker = broker
        self._clock = clock
        self._bucket = bucket
        self._windows = windows
        self._last_failures = max(1, max_attempts - 1)
        self._announced: set[str] = set()

    def tick(self) -> bool:
        """Fill the windows; return whether a chunk was sent."""
        with self._database.read() as connection:
            jobs = job_rows.jobs_with_status(connection, (JobStatus.PLANNING, JobStatus.RUNNING))
            active = chunk_rows.active_counts(connection)
            dispatched = chunk_rows.dispatched_counts(connection)
        waiting = [job for job in jobs if job.counts.pending]
        share = {job.id: sum(active.get(job.id, {}).values()) for job in waiting}
        sent = [
            self._fill([job for job in waiting if job.spec.method is method], share, window.chunks - dispatched[method])
            for method, window in self._windows.items()
        ]
        return any(sent)

    def _fill(self, waiting: list[Job], share: dict[str, int], room: int) -> bool:
        """Send up to `room` chunks, each of the job that has the fewest in hand."""
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

    def _claim(self, job: Job) -> ChunkMessage | None:
        now = self._clock()
        with self._database.write() as connection:
            # Last tries go one after the other. Chunks that a worker has at once die together of a photo that kills
            # it, wait for their leases together, and would be sent together again, until all of them had failed.
            busy = chunk_rows.is_active(connection, job.spec.method, failures=self._last_failures)
            limit = self._last_failures if busy else None
            chunk = chunk_rows.next_chunk(connection, job.id, now=now, failures_below=limit)
            if chunk is None:
                return None
            attempt = chunk_rows.claim(connection, chunk, now=now, lease_s=self._windows[chunk.method].lease_s)
            return None if attempt is None else self._message(connection, job, chunk, attempt)

    def _message(self, connection: Connection, job: Job, chunk: Chunk, attempt: int) -> ChunkMessage:
        found = tuple(items.chunk_items(connection, chunk.id))
        if job.spec.optimize is None:
            return StylizeChunk(
                job_id=job.id,
                chunk_id=chunk.id,
                attempt=attempt,
                items=found,
                style=StyleRef(name=chunk.style, version=chunk.version),
                weights=access.find_weights(connection, chunk.version),
                options=job.spec.options,
            )
        return OptimizeChunk(
            job_id=job.id,
            chunk_id=chunk.id,
            attempt=attempt,
            items=found,
            painting=job.spec.painting(chunk.style),
            config=job.spec.optimize.config,
            scratch=f"s3://{self._bucket}/{domain.scratch_key(job.tenant, job.id)}",
            preview_every=job.spec.optimize.preview_every,
            quality=job.spec.options.quality,
        )
