"""Reap: take chunks back whose worker stopped responding, that no worker started, or whose message was lost.

Redis may lose a message: kombu takes it from the list before it records it as unacknowledged, FLUSHALL takes all, and a
worker may die before its first event. So the reaper reads the queue, and a chunk that was sent, is not in it and
was not begun for a while is sent again. If its job is being stopped, it ends instead (see `withdrawal`).
"""

import logging
from collections import Counter

from nst_core.client.resources.items import ItemStatus
from nst_core.clock import Clock
from nst_core.system.logs import about
from scheduler.control.broker import Broker
from scheduler.control.lost_messages import LostMessages, reason
from scheduler.control.metrics import Metrics
from scheduler.control.setbacks import Setbacks, of_chunk
from scheduler.domain import codes
from scheduler.domain.codes import Failure
from scheduler.domain.jobs import ChunkStatus, Job
from scheduler.jobs import lifecycle
from scheduler.jobs.methods import find_method
from scheduler.store import chunks as chunk_rows
from scheduler.store import items as item_rows
from scheduler.store.chunks import Chunk
from scheduler.store.database import Connection, Database

log = logging.getLogger(__name__)


class Reaper:
    """Takes back chunks from workers that stopped responding, and chunks that no worker will start."""

    def __init__(
        self, database: Database, broker: Broker, *, clock: Clock, lost_after_s: float, metrics: Metrics | None = None
    ) -> None:
        self._metrics = metrics or Metrics()
        self._database = database
        self._broker = broker
        self._clock = clock
        self._lost_messages = LostMessages[tuple[int, int]](clock=clock, lost_after_s=lost_after_s)
        self._setbacks = Setbacks[int]("taking back", ids=of_chunk)

    def tick(self, *, as_of: float | None = None) -> bool:
        """Take back chunks that are overdue or lost; return whether there were any.

        `as_of` is the time until which all events of workers are known; None means now. If events are read late,
        chunks that are done look lost, and sending them again would make it worse.
        """
        now = self._clock() if as_of is None else as_of
        with self._database.read() as connection:
            found = chunk_rows.overdue(connection, now=now, without=self._setbacks.waiting())
        found += [chunk for chunk in self._lost(now) if chunk not in found]
        chunks = {chunk.id: chunk for chunk in found}
        return self._setbacks.attempt_each(chunks, lambda id: self._give_back(chunks[id], now))

    def forget(self) -> None:
        """Forget which messages are missing."""
        self._lost_messages.forget()

    def _lost(self, now: float) -> list[Chunk]:
        """Return the chunks whose messages are lost."""
        with self._database.read() as connection:
            sent = {(chunk.id, chunk.attempt): chunk for chunk in chunk_rows.dispatched(connection)}
        # Read after the database: what is not in a queue now has left it, for a worker or forever.
        queued = set[tuple[int, int]]()
        for method in {chunk.method for chunk in sent.values()}:
            queued |= self._broker.queued_chunks(find_method(method).queue)
        lost = self._lost_messages.lost(sent.keys() - queued, now=now)
        return [chunk for key, chunk in sent.items() if key in lost]

    def _give_back(self, found: Chunk, now: float) -> bool:
        with self._database.write() as connection:
            locked = chunk_rows.lock_attempt(connection, found.id, found.attempt)
            if locked is None or locked[1] != found:
                return True  # its worker has reported since
            job, chunk = locked
            silent = chunk.status is ChunkStatus.RUNNING
            why = reason(begun=silent, lease_until=chunk.lease_until, now=now)
            with about(job_id=job.id, tenant=job.tenant, attempt=chunk.attempt):
                log.warning("Chunk %d of %s, attempt %d: %s", chunk.id, job.id, chunk.attempt, why)
            # A worker that was told to end, or had not begun the chunk, did not die because of it.
            deaths = chunk.deaths + (silent and not chunk.blameless)
            changes = self._take_back(connection, job, chunk, deaths=deaths)
            lifecycle.settle(connection, job, changes)
            now_chunk = chunk_rows.find_chunk(connection, chunk.id)
        self._metrics.lost(chunk.method, why)
        self._metrics.ended(chunk.method, changes)
        if now_chunk is not None and now_chunk.status is ChunkStatus.DONE:
            # A frozen worker would continue with it, since there is no newer attempt to stop it.
            self._broker.outdate_chunk(chunk.id, chunk.attempt)
        return True

    def _take_back(self, connection: Connection, job: Job, chunk: Chunk, *, deaths: int) -> Counter[ItemStatus]:
        """Let the chunk wait again, or split it after too many deaths; a single image that kills workers fails.

        A half has one attempt before it is split again: of 1,000 images, the one that kills workers is alone after 10
        more deaths, and halves without it succeed. A single image gets all attempts again, because the
        earlier workers may have died of another image.
        """
        rest = [item.index for item in item_rows.chunk_items(connection, chunk.id)]
        if job.stop is not None or not rest:
            return lifecycle.drop(connection, chunk.id)
        if deaths == chunk.deaths or deaths < job.spec.max_attempts:
            chunk_rows.set_pending(connection, chunk.id, failures=chunk.failures, deaths=deaths, not_before=0.0)
            return item_rows.set_unfinished(connection, chunk.id, ItemStatus.PENDING)
        if len(rest) > 1:
            changes = item_rows.set_unfinished(connection, chunk.id, ItemStatus.PENDING)
            chunk_rows.halve(connection, chunk, rest, deaths=deaths)
            return changes
        error = Failure(codes.WORKER_LOST, f"{deaths} workers in turn died or hung while they had this image.")
        chunk_rows.set_done(connection, chunk.id)
        return item_rows.set_unfinished(connection, chunk.id, ItemStatus.FAILED, error=error)
