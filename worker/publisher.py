"""What a worker tells the scheduler about a chunk, and what it hears back."""

import logging
import time
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from nst_core.broker import Broker
from nst_core.clock import Clock
from nst_core.errors import BrokerUnavailableError
from nst_core.protocol import ChunkFinished, ChunkMessage, ChunkProgress, ChunkStarted, ItemOutcome, ItemProgress
from nst_core.protocol import Event as ChunkEvent

_log = logging.getLogger(__name__)
#: Waits between tries to publish the end of a chunk grow from the first to the last.
_FIRST_WAIT_S, _LAST_WAIT_S = 0.1, 2.0


class ChunkReport:
    """Keeps the scheduler informed about one chunk in flight; a context manager around the work.

    Inside it a thread publishes outcomes every `progress_s` and renews the lease every `heartbeat_s`, however long
    an image takes, and notices when the chunk is not wanted any more. All of this may fail while Redis is away;
    only `finish` insists.
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
    ) -> None:
        self._chunk = chunk
        self._broker = broker
        self._worker = worker
        self._progress_s = progress_s
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._sent_at = clock()
        self._lock = Lock()
        self._outcomes: list[ItemOutcome] = []
        self._published = 0
        #: Of each item the newest that was not published.
        self._progress: dict[int, ItemProgress] = {}
        self._unwanted = False
        self._away = False
        self._done = Event()
        self._thread = Thread(target=self._tick_until_done, name=f"report-{chunk.chunk_id}", daemon=True)

    @property
    def unwanted(self) -> bool:
        """The job was cancelled, or a newer attempt at the chunk exists: no image is to be begun any more."""
        return self._unwanted

    @property
    def outcomes(self) -> tuple[ItemOutcome, ...]:
        """The outcomes so far."""
        with self._lock:
            return tuple(self._outcomes)

    def __enter__(self) -> Self:
        self._try_publish(ChunkStarted(chunk_id=self._chunk.chunk_id, attempt=self._chunk.attempt, worker=self._worker))
        self.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A heartbeat that went on after the work would keep the lease of a chunk that nobody works at.
        self._done.set()
        self._thread.join()

    def add(self, outcome: ItemOutcome) -> None:
        """Take note of an outcome; the next tick publishes it."""
        with self._lock:
            self._outcomes.append(outcome)

    def note(self, progress: ItemProgress) -> None:
        """Take note of how far an item has come; the next tick publishes it, unless a newer note comes before."""
        with self._lock:
            self._progress[progress.index] = progress

    def tick(self) -> None:
        """Publish the new outcomes and progress, or a sign of life where none was sent for long."""
        with self._lock:
            outcomes, progress = tuple(self._outcomes), self._take_progress()
        new = outcomes[self._published :]
        if not new and not progress and self._clock() - self._sent_at < self._heartbeat_s:
            return
        chunk = self._chunk
        # Progress that Redis does not take is lost, and soon outdated anyway.
        if self._try_publish(
            ChunkProgress(chunk_id=chunk.chunk_id, attempt=chunk.attempt, outcomes=new, progress=progress)
        ):
            self._published = len(outcomes)

    def listen(self) -> None:
        """Ask whether the chunk is still wanted; without an answer it is."""
        try:
            self._unwanted = self._broker.is_cancelled(self._chunk.job_id) or self._broker.is_outdated(self._chunk)
        except BrokerUnavailableError as error:
            self._note_fault(error)

    def finish(self, stop: Event) -> bool:
        """Publish all outcomes as the chunk's end, and try until Redis takes it.

        Returns False where `stop` was set before it did; the scheduler then finds the lease expired.
        """
        with self._lock:
            outcomes, progress = tuple(self._outcomes), self._take_progress()
        chunk = self._chunk
        event = ChunkFinished(chunk_id=chunk.chunk_id, attempt=chunk.attempt, outcomes=outcomes, progress=progress)
        wait_s = _FIRST_WAIT_S
        while not self._try_publish(event):
            if stop.wait(wait_s):
                return False
            wait_s = min(2 * wait_s, _LAST_WAIT_S)
        return True

    def _take_progress(self) -> tuple[ItemProgress, ...]:
        progress = tuple(self._progress.values())
        self._progress.clear()
        return progress

    def _tick_until_done(self) -> None:
        while not self._done.wait(self._progress_s):
            self.tick()
            self.listen()

    def _try_publish(self, event: ChunkEvent) -> bool:
        try:
            self._broker.publish(event)
        except BrokerUnavailableError as error:
            self._note_fault(error)
            return False
        self._away = False
        self._sent_at = self._clock()
        return True

    def _note_fault(self, error: BrokerUnavailableError) -> None:
        # One line each time that Redis goes away, not several a second for as long as it stays away.
        level = logging.DEBUG if self._away else logging.WARNING
        self._away = True
        _log.log(level, "job %s chunk %d: %s", self._chunk.job_id, self._chunk.chunk_id, error)
