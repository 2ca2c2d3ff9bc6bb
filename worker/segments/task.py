"""The Celery task of trainings: it works at a segment of a run."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Event, Lock
from typing import Any, TypeVar

import torch

from nst_core.clock import Clock
from nst_core.errors import BlobUnavailableError, NstError, ProtocolError
from nst_core.protocol.chunks import load_segment
from nst_core.protocol.segments import Phase, SegmentFailure, SegmentFinished, TrainProgress, TrainSegment
from nst_core.queue.broker import Broker
from nst_core.storage.blobs import BlobStore
from worker.runtime.engine import Engine
from worker.runtime.outcomes import InterruptedWorkError, Recovered, problem_of
from worker.runtime.reports import is_outdated
from worker.runtime.steering import Steering
from worker.segments.builder import TrainingBuilder
from worker.segments.cache import Shelf
from worker.segments.evaluation import Evaluator
from worker.segments.photo_library import PhotoLibrary
from worker.segments.report import SegmentReport, label_of
from worker.segments.training import Training
from worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: The engine's lane of trainings.
LANE = "train"
#: Runs whose newest attempt is remembered.
_REMEMBERED = 1000


class TrainTask:
    """Works at segments; called with the message of each, on as many threads as segments may be in flight."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        name: str,
        broker: Broker,
        blobs: BlobStore,
        engine: Engine,
        device: torch.device,
        stop: Event,
        recovered: Recovered = lambda problem: False,
        clock: Clock = time.monotonic,
    ) -> None:
        """Work under the name of a worker until `stop` is set."""
        self._settings = settings
        self._recovered = recovered
        self._name = name
        self._broker = broker
        self._engine = engine
        self._stop = stop
        self._clock = clock
        self._lock = Lock()
        #: The newest attempt at each run that was begun here.
        self._begun: OrderedDict[str, int] = OrderedDict()
        self._shelf = Shelf(keep_s=settings.train_keep_s, count=settings.train_kept)
        self._library = PhotoLibrary(blobs, settings.cache_dir, max_bytes=settings.cache_max_bytes)
        compute = self._compute
        builder = TrainingBuilder(
            settings, blobs=blobs, library=self._library, compute=compute, device=device, shelf=self._shelf
        )
        training = Training(name=name, blobs=blobs, builder=builder, shelf=self._shelf, compute=compute)
        evaluator = Evaluator(settings, name=name, blobs=blobs, library=self._library, compute=compute, device=device)
        self._phases = {Phase.TRAIN: training.run, Phase.EVALUATE: evaluator.run}

    def __call__(self, message: Any) -> None:
        """Take a segment from its message to its last event."""
        try:
            segment = load_segment(message)
        except ProtocolError as error:
            _log.error("dropped a message: %s", error)
            return
        if is_outdated(lambda: self._broker.is_outdated(segment.run_id, segment.attempt), label_of(segment)):
            _log.info("%s: dropped, a newer attempt exists", label_of(segment))
        elif not self._claim(segment):
            # Redis may deliver a message twice, and one end of an attempt is enough.
            _log.info("%s: dropped, it was begun here before", label_of(segment))
        else:
            self._work(segment)

    def close(self) -> None:
        """Let go of the training that is kept; to be called when no segment is in flight."""
        self._shelf.close()
        self._library.close()

    def _claim(self, segment: TrainSegment) -> bool:
        """Return whether the segment's attempt is newer than all at its run that were begun here."""
        with self._lock:
            if self._begun.get(segment.run_id, 0) >= segment.attempt:
                return False
            self._begun[segment.run_id] = segment.attempt
            self._begun.move_to_end(segment.run_id)
            if len(self._begun) > _REMEMBERED:
                self._begun.popitem(last=False)
            return True

    def _work(self, segment: TrainSegment) -> None:
        started = self._clock()
        report = SegmentReport(
            segment,
            self._broker,
            worker=self._name,
            progress_s=self._settings.train_progress_s,
            heartbeat_s=self._settings.heartbeat_s,
        )
        with report:
            end = self._end(segment, report, started)
        told = report.finish(end, self._stop)
        _log_end(segment, end)
        if not told:
            _log.error("%s: its end could not be published before the shutdown", label_of(segment))

    def _end(self, segment: TrainSegment, report: SegmentReport, started: float) -> SegmentFinished:
        """Return what a segment comes to; whatever fails in it, the worker goes on."""
        steering: Steering[TrainProgress] = Steering(
            going=lambda: not (self._stop.is_set() or report.stopped or report.unwanted),
            wanted=lambda: not report.unwanted,
            on_progress=report.note,
        )
        failure = None
        try:
            if steering.going():
                return self._phases[segment.phase](segment, steering)
        except InterruptedWorkError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the scheduler must hear of it
            failure = self._failure(problem_of(error, label=label_of(segment), what="training"))
        return SegmentFinished(
            run_id=segment.run_id,
            attempt=segment.attempt,
            worker=self._name,
            step=report.progress.step if report.progress else 0,
            seconds=self._clock() - started,
            failure=failure,
        )

    def _failure(self, problem: NstError) -> SegmentFailure | None:
        """Return what a segment fails of; None if this worker is to blame and gives it back."""
        try:
            recovered = self._recovered(problem)
        except InterruptedWorkError:
            return None
        except BlobUnavailableError as error:
            problem, recovered = error, True
        return SegmentFailure(code=problem.code, message=problem.message, retryable=problem.retryable or recovered)

    def _compute(self, call: Callable[[], _T], /) -> _T:
        """Return what a call returns that the engine runs."""
        return self._engine.submit(call, lane=LANE).result()


def _log_end(segment: TrainSegment, end: SegmentFinished) -> None:
    if end.failure is not None:
        _log.warning("%s: %s: %s", label_of(segment), end.failure.code, end.failure.message)
        return
    _log.info(
        "%s: at step %d, %s, %.1f s",
        label_of(segment),
        end.step,
        end.checkpoint.uri.rpartition("/")[2] if end.checkpoint else "with a result" if end.result else "nothing saved",
        end.seconds,
    )
