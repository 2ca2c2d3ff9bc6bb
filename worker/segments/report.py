"""What a worker tells the scheduler about a segment of a training, and what it hears back."""

import time
from threading import Event, Lock

from nst_core.clock import Clock
from nst_core.protocol.segments import SegmentFinished, SegmentProgress, SegmentStarted, TrainProgress, TrainSegment
from nst_core.queue.broker import Broker
from worker.runtime.reports import Report


class SegmentReport(Report):
    """Keeps the scheduler informed about one segment in flight.

    It is unwanted once a newer attempt at the run exists: whatever this one comes to is dropped.
    """

    def __init__(
        self,
        segment: TrainSegment,
        broker: Broker,
        *,
        worker: str,
        progress_s: float,
        heartbeat_s: float,
        clock: Clock = time.monotonic,
    ) -> None:
        """Report on a segment under the name of a worker; times as `Report` has them."""
        super().__init__(broker, label=label_of(segment), progress_s=progress_s, heartbeat_s=heartbeat_s, clock=clock)
        self._segment = segment
        self._worker = worker
        self._lock = Lock()
        self._newest: TrainProgress | None = None
        #: The newest that Redis has taken.
        self._told: TrainProgress | None = None
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """The run is to pause or to end: what was done is saved, and nothing else begun."""
        return self._stopped

    @property
    def progress(self) -> TrainProgress | None:
        """The newest note."""
        with self._lock:
            return self._newest

    def note(self, progress: TrainProgress) -> None:
        """Take note of how far the run has come; the next tick publishes it, unless a newer note comes before."""
        with self._lock:
            self._newest = progress

    def tick(self) -> None:
        """Publish the newest progress, or a sign of life where none was sent for long."""
        newest = self.progress
        new = newest is not None and newest != self._told
        if not new and not self._silent:
            return
        segment = self._segment
        if self._try_publish(
            SegmentProgress(run_id=segment.run_id, attempt=segment.attempt, progress=newest if new else None)
        ):
            self._told = newest

    def finish(self, event: SegmentFinished, stop: Event) -> bool:
        """Publish the segment's end, and try until Redis takes it.

        Returns False where `stop` was set before it did; the scheduler then finds the lease expired.
        """
        return self._insist(event, stop)

    def _started(self) -> SegmentStarted:
        return SegmentStarted(run_id=self._segment.run_id, attempt=self._segment.attempt, worker=self._worker)

    def _ask(self) -> None:
        run_id, attempt = self._segment.run_id, self._segment.attempt
        self._stopped = self._broker.is_stopped(run_id, attempt)
        self._unwanted = self._broker.is_outdated(run_id, attempt)


def label_of(segment: TrainSegment) -> str:
    """Return a segment's name for the log."""
    return f"run {segment.run_id} {segment.phase} attempt {segment.attempt}"
