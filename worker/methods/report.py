"""What a worker tells the scheduler about a chunk, and what it hears back."""

import time
from collections.abc import Callable
from threading import Event, Lock

from nst_core.clock import Clock
from nst_core.protocol.chunks import ChunkFinished, ChunkMessage, ChunkProgress, ChunkStarted, ItemOutcome, ItemProgress
from nst_core.queue.broker import Broker
from worker.runtime.reports import Report


class ChunkReport(Report):
    """Keeps the scheduler informed about one chunk in flight: which items are done, and how far others have come.

    It is unwanted once its job was cancelled, or a newer attempt at the chunk exists.
    """

    def __init__(
        self,
        chunk: ChunkMessage,
        broker: Broker,
        *,
        worker: str,
        progress_s: float,
        heartbeat_s: float,
        clock: Clock = time.monotonic,
        leaving: Callable[[], bool] = lambda: False,
        waits: bool = False,
    ) -> None:
        """Report on a chunk under the name of a worker; times as `Report` has them.

        `leaving` says whether the worker was told to end. A chunk that `waits` is begun with `begin`.
        """
        super().__init__(
            broker,
            label=f"job {chunk.job_id} chunk {chunk.chunk_id}",
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
        #: Whether the scheduler is still to hear that the chunk is begun, and that the worker was told to end.
        self._begun_unsaid = self._left = False
        #: Of each item the newest that was not published.
        self._progress: dict[int, ItemProgress] = {}

    @property
    def outcomes(self) -> tuple[ItemOutcome, ...]:
        """The outcomes so far."""
        with self._lock:
            return tuple(self._outcomes)

    def add(self, outcome: ItemOutcome) -> None:
        """Take note of an outcome; the next tick publishes it."""
        with self._lock:
            self._outcomes.append(outcome)
            self._news_at = self._clock()

    def begin(self) -> None:
        """Tell that a chunk that has waited is begun."""
        if self._waits:
            self._waits, self._begun_unsaid = False, True
            self._say_begun()

    def touch(self) -> None:
        """Note that the chunk waits for a good reason: it is not stuck."""
        self._news_at = self._clock()

    def note(self, progress: ItemProgress) -> None:
        """Take note of how far an item has come; the next tick publishes it, unless a newer note comes before."""
        with self._lock:
            self._progress[progress.index] = progress
            self._news_at = self._clock()

    def tick(self) -> None:
        """Publish the new outcomes and progress, or a sign of life where none was sent for long."""
        self._say_begun()
        leaves = not self._left and self._leaving()
        with self._lock:
            outcomes, progress = tuple(self._outcomes), self._take_progress()
        new = outcomes[self._published :]
        if not new and not progress and not self._silent and not leaves:
            return
        chunk = self._chunk
        # Progress that Redis does not take is lost, and soon outdated anyway.
        if self._try_publish(
            ChunkProgress(
                chunk_id=chunk.chunk_id, attempt=chunk.attempt, outcomes=new, progress=progress, blameless=leaves
            )
        ):
            self._published = len(outcomes)
            self._left |= leaves

    def finish(self, stop: Event) -> bool:
        """Publish all outcomes as the chunk's end, and try until Redis takes it.

        Returns False where `stop` was set before it did; the scheduler then finds the lease expired.
        """
        with self._lock:
            outcomes, progress = tuple(self._outcomes), self._take_progress()
        chunk = self._chunk
        event = ChunkFinished(chunk_id=chunk.chunk_id, attempt=chunk.attempt, outcomes=outcomes, progress=progress)
        return self._insist(event, stop)

    def _started(self) -> ChunkStarted:
        chunk = self._chunk
        return ChunkStarted(chunk_id=chunk.chunk_id, attempt=chunk.attempt, worker=self._worker, blameless=self._waits)

    def _say_begun(self) -> None:
        if self._begun_unsaid and self._try_publish(self._started()):
            self._begun_unsaid = False

    def _ask(self) -> None:
        chunk = self._chunk
        self._unwanted = self._broker.is_cancelled(chunk.job_id) or self._broker.is_outdated(
            chunk.chunk_id, chunk.attempt
        )

    def _take_progress(self) -> tuple[ItemProgress, ...]:
        progress = tuple(self._progress.values())
        self._progress.clear()
        return progress
