"""The Celery tasks of jobs, one for each method: each works at a chunk."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any, Generic, TypeVar

from nst_core.clock import Clock
from nst_core.errors import NstError, ProtocolError
from nst_core.protocol.chunks import ChunkMessage, ItemOutcome, OptimizeChunk, StylizeChunk, load_chunk
from nst_core.queue.broker import Broker
from worker.methods.optimize.course import Optimization
from worker.methods.report import ChunkReport
from worker.methods.stylize.models import ModelCache
from worker.methods.stylize.pipeline import Pipeline
from worker.runtime.company import Company
from worker.runtime.health import Stylize
from worker.runtime.outcomes import Recovered, failure, insist
from worker.runtime.reports import is_outdated
from worker.runtime.steering import Steering
from worker.runtime.watchdog import Watchdog
from worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
_Chunk = TypeVar("_Chunk", bound=ChunkMessage)


class ChunkTask(ABC, Generic[_Chunk]):
    """Works at chunks; called with the message of each, on as many threads as chunks may be in flight."""

    #: The argument that the task takes.
    chunk: type[_Chunk]

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        name: str,
        broker: Broker,
        watchdog: Watchdog,
        stop: Event,
        clock: Clock = time.monotonic,
        company: Company | None = None,
    ) -> None:
        """Work under the name of a worker until `stop` is set; tasks of one worker share their `company`."""
        self._company = company or Company()
        self._settings = settings
        self._watchdog = watchdog
        self._name = name
        self._broker = broker
        self._stop = stop
        self._clock = clock
        self._lock = Lock()
        self._in_flight: set[tuple[int, int]] = set()

    def __call__(self, message: Any) -> None:
        """Take a chunk from its message to its last event; returns when the message may be acknowledged."""
        try:
            chunk = load_chunk(self.chunk, message)
        except ProtocolError as error:
            # Acknowledged all the same: it would be as wrong the next time.
            _log.error("dropped a message: %s", error)
            return
        with self._claimed(chunk) as claimed:
            if claimed:
                self._work(chunk)

    @abstractmethod
    def _outcomes(self, chunk: _Chunk, report: ChunkReport) -> Iterator[ItemOutcome]:
        """Yield the outcomes of the chunk's items as they come; those that are not completed have none."""

    def _going(self, report: ChunkReport) -> bool:
        """Return whether another item, or another iteration, is to be begun."""
        return not (self._stop.is_set() or report.unwanted)

    def _is_outdated(self, chunk: ChunkMessage) -> bool:
        """Return whether a newer attempt at a chunk exists; raise BrokerUnavailableError if Redis does not answer."""
        return self._broker.is_outdated(chunk.chunk_id, chunk.attempt)

    @contextmanager
    def _claimed(self, chunk: ChunkMessage) -> Iterator[bool]:
        """Yield whether this is the time to work at a chunk, and hold others back from it meanwhile."""
        if is_outdated(lambda: self._is_outdated(chunk), _label(chunk)):
            _log.info("%s: dropped, a newer attempt exists", _label(chunk))
            yield False
            return
        key = (chunk.chunk_id, chunk.attempt)
        with self._lock:
            repeated = key in self._in_flight
            self._in_flight.add(key)
        if repeated:
            # Redis delivers a message again when it was away, or when it was not acknowledged for an hour.
            _log.info("%s: dropped, it is in flight here", _label(chunk))
            yield False
            return
        try:
            yield True
        finally:
            with self._lock:
                self._in_flight.discard(key)

    def _work(self, chunk: _Chunk) -> None:
        started = self._clock()
        report = ChunkReport(
            chunk,
            self._broker,
            worker=self._name,
            progress_s=self._settings.progress_s,
            heartbeat_s=self._settings.heartbeat_s,
            leaving=self._stop.is_set,
            waits=self._company.must_wait(alone=chunk.alone),
        )

        def still() -> bool:
            report.touch()
            return self._going(report)

        # Watched first: to begin the report takes a thread.
        with (
            self._watchdog.watching(report, lane=chunk.method, label=_label(chunk)),
            report,
            self._company.place(alone=chunk.alone, still=still) as has_place,
        ):
            if has_place and self._going(report):
                report.begin()
                for outcome in self._outcomes(chunk, report):
                    report.add(outcome)
        told = report.finish(self._stop)
        _log_end(chunk, report.outcomes, seconds=self._clock() - started)
        if not told:
            _log.error("%s: its end could not be published before the shutdown", _label(chunk))


class StylizeTask(ChunkTask[StylizeChunk]):
    """Stylizes the photos of a chunk with one style's network."""

    chunk = StylizeChunk

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        name: str,
        broker: Broker,
        models: ModelCache[Any],
        pipeline: Pipeline,
        watchdog: Watchdog,
        stop: Event,
        recovered: Recovered = lambda problem: False,
        company: Company | None = None,
    ) -> None:
        """Work under the name of a worker until `stop` is set."""
        super().__init__(settings, name=name, broker=broker, watchdog=watchdog, stop=stop, company=company)
        self._recovered = recovered
        self._models = models
        self._pipeline = pipeline

    def _outcomes(self, chunk: StylizeChunk, report: ChunkReport) -> Iterator[ItemOutcome]:
        label = f"{_label(chunk)} style {chunk.style.name}"
        try:
            stylize: Stylize = insist(
                lambda: self._models.get(chunk.style.version, chunk.weights),
                label=label,
                what="style",
                recovered=self._recovered,
            )
        except NstError as error:
            _log.error("%s: %s", label, error)
            yield from (failure(item, error) for item in chunk.items)
        else:
            yield from self._pipeline.run(
                chunk, stylize, going=lambda: self._going(report), outdated=lambda: self._is_outdated(chunk)
            )


class OptimizeTask(ChunkTask[OptimizeChunk]):
    """Optimises the photos of a chunk, one after the other."""

    chunk = OptimizeChunk

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        name: str,
        broker: Broker,
        optimization: Optimization,
        watchdog: Watchdog,
        stop: Event,
        company: Company | None = None,
    ) -> None:
        """Work under the name of a worker until `stop` is set."""
        super().__init__(settings, name=name, broker=broker, watchdog=watchdog, stop=stop, company=company)
        self._optimization = optimization

    def _outcomes(self, chunk: OptimizeChunk, report: ChunkReport) -> Iterator[ItemOutcome]:
        steering = Steering(
            going=lambda: self._going(report),
            wanted=lambda: not report.unwanted,
            on_progress=report.note,
            outdated=lambda: self._is_outdated(chunk),
        )
        return self._optimization.run(chunk, steering)


def _label(chunk: ChunkMessage) -> str:
    return f"job {chunk.job_id} chunk {chunk.chunk_id} attempt {chunk.attempt}"


def _log_end(chunk: ChunkMessage, outcomes: tuple[ItemOutcome, ...], *, seconds: float) -> None:
    failed = sum(not outcome.succeeded for outcome in outcomes)
    rate = len(outcomes) / seconds if seconds else 0.0
    _log.info(
        "%s: %d images, %d failed, %d not completed, %.1f s, %.2f images/s",
        _label(chunk),
        len(outcomes),
        failed,
        len(chunk.items) - len(outcomes),
        seconds,
        rate,
    )
