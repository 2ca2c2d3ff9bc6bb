"""The report on a chunk: which items are done, and how far the others have come."""

import time
from collections.abc import Callable
from threading import Lock

from nst_core.clock import Clock
from nst_core.protocol.chunks import ChunkMessage
from nst_core.protocol.events import ChunkFinished, ChunkProgress, ChunkStarted, ItemOutcome, ItemProgress
from nst_core.system.logs import Ids
from worker.runtime.broker import WorkerBroker
from worker.runtime.report import Report


class ChunkReport(Report):
    """Keeps the scheduler informed about one chunk in flight.

    A chunk is unwanted once its job is cancelled or a newer attempt at the chunk exists.
    """

    def __init__(
        self,
        chunk: ChunkMessage,
        broker: WorkerBroker,
        *,
        worker: str,
        progress_s: float,
        heartbeat_s: float,
        clock: Clock = time.monotonic,
        leaving: Callable[[], bool] = lambda: False,
        waits: bool = False,
    ) -> None:
        """Report on a chunk as the named worker; see `Report` for the times.

        `leaving` returns whether the worker was told to end. If the chunk `waits`, call `begin` once it does not.
        """
        super().__init__(
            broker,
            id=chunk.chunk_id,
            attempt=chunk.attempt,
            label=f"job {chunk.job_id} chunk {chunk.chunk_id} attempt {chunk.attempt}",
            ids=Ids(job_id=chunk.job_id, chunk_id=chunk.chunk_id, attempt=chunk.attempt),
            traceparent=chunk.traceparent,
            progress_s=progress_s,
            heartbeat_s=heartbeat_s,
            clock=clock,
        )
        self._chunk = chunk
        self._worker = worker
        self._lock = Lock()
        self._outcomes: list[ItemOutcome] = []
        self._published = 0
        self._leaving = leaving
        self._waits = waits
        #: Whether the scheduler must still be told that the chunk has begun, and was told that the worker ends.
        self._must_tell_begin = self._told_leaving = False
        #: For each item the newest progress that was not published.
        self._progress: dict[int, ItemProgress] = {}

    @property
    def outcomes(self) -> tuple[ItemOutcome, ...]:
        """The outcomes so far."""
        with self._lock:
            return tuple(self._outcomes)

    def add(self, outcome: ItemOutcome) -> None:
        """Store an outcome; the next tick publishes it."""
        with self._lock:
            self._outcomes.append(outcome)
            self._news_at = self._clock()

    def begin(self) -> None:
        """Tell the scheduler that a chunk that had to wait has begun."""
        if self._waits:
            self._waits, self._must_tell_begin = False, True
            self._tell_begin()

    def touch(self) -> None:
        """Record that the chunk waits for a good reason, or is in a long iteration, and is not stuck."""
        self._news_at = self._clock()

    def note(self, progress: ItemProgress) -> None:
        """Store how far an item has come; the next tick publishes the newest note of each item."""
        with self._lock:
            self._progress[progress.index] = progress
            self._news_at = self._clock()

    def tick(self) -> None:
        """Publish new outcomes and progress, or a heartbeat if one is due."""
        self._tell_begin()
        leaves = not self._told_leaving and self._leaving()
        with self._lock:
            outcomes, progress = tuple(self._outcomes), self._take_progress()
        new = outcomes[self._published :]
        if not new and not progress and not self._heartbeat_is_due and not leaves:
            return
        # Progress that Redis does not accept is lost, and is soon outdated anyway.
        if self._try_publish(
            ChunkProgress(
                chunk_id=self._chunk.chunk_id, attempt=self.attempt, outcomes=new, progress=progress, blameless=leaves
            )
        ):
            self._published = len(outcomes)
            self._told_leaving |= leaves

    def end(self) -> ChunkFinished:
        """Return the chunk's last event, with all outcomes; items without one were not completed."""
        with self._lock:
            outcomes, progress = tuple(self._outcomes), self._take_progress()
        return ChunkFinished(chunk_id=self._chunk.chunk_id, attempt=self.attempt, outcomes=outcomes, progress=progress)

    def _started(self) -> ChunkStarted:
        return ChunkStarted(
            chunk_id=self._chunk.chunk_id, attempt=self.attempt, worker=self._worker, blameless=self._waits
        )

    def _tell_begin(self) -> None:
        if self._must_tell_begin and self._try_publish(self._started()):
            self._must_tell_begin = False

    def _ask(self) -> None:
        self._unwanted = self._broker.is_cancelled(self._chunk.job_id) or self.is_outdated()

    def _take_progress(self) -> tuple[ItemProgress, ...]:
        progress = tuple(self._progress.values())
        self._progress.clear()
        return progress
