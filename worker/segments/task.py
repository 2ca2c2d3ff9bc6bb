"""The Celery task of trainings: it works on segments of runs."""

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import Any, TypeVar

import torch

from nst_core.clock import Clock
from nst_core.errors import NstError
from nst_core.protocol.events import SegmentFailure, SegmentFinished
from nst_core.protocol.segments import Phase, TrainSegment, load_segment
from nst_core.storage.blobs import BlobStore
from nst_core.training.step_losses import StepLosses
from worker.runtime.broker import WorkerBroker
from worker.runtime.engine import Engine
from worker.runtime.outcomes import InterruptedWorkError, Recovered
from worker.runtime.steering import Steering
from worker.runtime.task import Task
from worker.segments.builder import TrainingBuilder
from worker.segments.cache import TrainingCache
from worker.segments.evaluation import Evaluator
from worker.segments.photo_library import PhotoLibrary
from worker.segments.report import SegmentReport
from worker.segments.training import Training
from worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: The engine's lane of trainings.
LANE = "train"


class TrainTask(Task[TrainSegment, SegmentReport, SegmentFinished]):
    """Works on segments."""

    noun = "training"

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        name: str,
        broker: WorkerBroker,
        blobs: BlobStore,
        engine: Engine,
        device: torch.device,
        stop: Event,
        recovered: Recovered = lambda problem: False,
        on_step: Callable[[StepLosses], object] = lambda losses: None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Work as the named worker until `stop` is set. `on_step` is called after each step."""
        super().__init__(broker=broker, stop=stop, recovered=recovered, clock=clock)
        self._settings = settings
        self._name = name
        self._engine = engine
        self._cache = TrainingCache(keep_s=settings.train_keep_s, count=settings.train_kept)
        self._library = PhotoLibrary(blobs, settings.cache_dir, max_bytes=settings.cache_max_bytes)
        compute = self._compute
        builder = TrainingBuilder(
            settings, blobs=blobs, library=self._library, compute=compute, device=device, cache=self._cache
        )
        training = Training(
            name=name, blobs=blobs, builder=builder, cache=self._cache, compute=compute, on_step=on_step
        )
        evaluator = Evaluator(settings, name=name, blobs=blobs, library=self._library, compute=compute, device=device)
        self._phases = {Phase.TRAIN: training.run, Phase.EVALUATE: evaluator.run}

    def close(self) -> None:
        """Release the cached trainings and photos; call it when no segment is in flight."""
        self._cache.close()
        self._library.close()

    def _parse(self, message: Any) -> TrainSegment:
        return load_segment(message)

    def _report_on(self, work: TrainSegment) -> SegmentReport:
        return SegmentReport(
            work,
            self._broker,
            worker=self._name,
            progress_s=self._settings.train_progress_s,
            heartbeat_s=self._settings.heartbeat_s,
        )

    def _work(self, work: TrainSegment, report: SegmentReport) -> SegmentFinished:
        steering = Steering(
            going=lambda: not (self._stop.is_set() or report.stopped or report.unwanted),
            wanted=lambda: not report.unwanted,
            on_progress=report.note,
        )
        with report:
            if not steering.going():
                raise InterruptedWorkError
            return self._phases[work.phase](work, steering)

    def _interrupted(
        self, work: TrainSegment, report: SegmentReport, *, seconds: float, failure: SegmentFailure | None = None
    ) -> SegmentFinished:
        return SegmentFinished(
            run_id=work.run_id,
            attempt=work.attempt,
            worker=self._name,
            step=report.progress.step if report.progress else 0,
            seconds=seconds,
            failure=failure,
        )

    def _failed(
        self, work: TrainSegment, report: SegmentReport, problem: NstError, *, retryable: bool, seconds: float
    ) -> SegmentFinished:
        failure = SegmentFailure(code=problem.code, message=problem.message, retryable=retryable)
        return self._interrupted(work, report, seconds=seconds, failure=failure)

    def _log_end(self, work: TrainSegment, report: SegmentReport, end: SegmentFinished, *, seconds: float) -> None:
        if end.failure is not None:
            _log.warning("%s: %s: %s", report.label, end.failure.code, end.failure.message)
            return
        saved = end.checkpoint.uri.rpartition("/")[2] if end.checkpoint else ""
        _log.info(
            "%s: at step %d, %s, %.1f s",
            report.label,
            end.step,
            saved or ("with a result" if end.result else "nothing saved"),
            end.seconds,
        )

    def _compute(self, call: Callable[[], _T], /) -> _T:
        """Return what a call returns that the engine runs."""
        return self._engine.submit(call, lane=LANE).result()
