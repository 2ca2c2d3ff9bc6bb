"""The report on a segment of a training."""

import time
from threading import Lock

from nst_core.clock import Clock
from nst_core.protocol.events import SegmentProgress, SegmentStarted, TrainProgress
from nst_core.protocol.segments import TrainSegment
from nst_core.system.logs import Ids
from worker.runtime.broker import WorkerBroker
from worker.runtime.report import Report


class SegmentReport(Report):
    """Keeps the scheduler informed about one segment in flight.

    A segment is unwanted once a newer attempt at its run exists: its result would be dropped.
    """

    def __init__(
        self,
        segment: TrainSegment,
        broker: WorkerBroker,
        *,
        worker: str,
        progress_s: float,
        heartbeat_s: float,
        clock: Clock = time.monotonic,
    ) -> None:
        """Report on a segment as the named worker; see `Report` for the times."""
        super().__init__(
            broker,
            id=segment.run_id,
            attempt=segment.attempt,
            label=f"run {segment.run_id} {segment.phase} attempt {segment.attempt}",
            ids=Ids(run_id=segment.run_id, attempt=segment.attempt),
            traceparent=segment.traceparent,
            progress_s=progress_s,
            heartbeat_s=heartbeat_s,
            clock=clock,
        )
        self._segment = segment
        self._worker = worker
        self._lock = Lock()
        self._newest: TrainProgress | None = None
        #: The newest progress that Redis accepted.
        self._published: TrainProgress | None = None
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether the run should pause or end: the worker saves what is done and begins nothing else."""
        return self._stopped

    @property
    def progress(self) -> TrainProgress | None:
        """The newest note."""
        with self._lock:
            return self._newest

    def note(self, progress: TrainProgress) -> None:
        """Store how far the run has come; the next tick publishes the newest note."""
        with self._lock:
            self._newest = progress

    def tick(self) -> None:
        """Publish the newest progress, or a heartbeat if one is due."""
        newest = self.progress
        new = newest is not None and newest != self._published
        if not new and not self._heartbeat_is_due:
            return
        if self._try_publish(
            SegmentProgress(run_id=self._segment.run_id, attempt=self.attempt, progress=newest if new else None)
        ):
            self._published = newest

    def _started(self) -> SegmentStarted:
        return SegmentStarted(run_id=self._segment.run_id, attempt=self.attempt, worker=self._worker)

    def _ask(self) -> None:
        self._stopped = self._broker.is_stopped(self._segment.run_id, self.attempt)
        self._unwanted = self.is_outdated()
