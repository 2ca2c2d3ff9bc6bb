"""The Celery task of the optimize method."""

from collections.abc import Iterator
from threading import Event

from nst_core.protocol.chunks import OptimizeChunk
from nst_core.protocol.events import ItemOutcome
from worker.methods.optimize.course import Optimization
from worker.methods.report import ChunkReport
from worker.methods.task import ChunkTask
from worker.runtime.broker import WorkerBroker
from worker.runtime.isolation import Isolation
from worker.runtime.outcomes import Recovered
from worker.runtime.steering import Steering
from worker.runtime.watchdog import Watchdog
from worker.settings import WorkerSettings


class OptimizeTask(ChunkTask[OptimizeChunk]):
    """Optimises the photos of a chunk, one after the other."""

    chunk = OptimizeChunk

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        name: str,
        broker: WorkerBroker,
        optimization: Optimization,
        watchdog: Watchdog,
        stop: Event,
        recovered: Recovered = lambda problem: False,
        isolation: Isolation | None = None,
    ) -> None:
        """Work as the named worker until `stop` is set."""
        super().__init__(
            settings,
            name=name,
            broker=broker,
            watchdog=watchdog,
            stop=stop,
            recovered=recovered,
            isolation=isolation,
        )
        self._optimization = optimization

    def _outcomes(self, chunk: OptimizeChunk, report: ChunkReport) -> Iterator[ItemOutcome]:
        steering = Steering(
            going=lambda: self._going(report),
            wanted=lambda: not report.unwanted,
            on_progress=report.note,
            outdated=report.is_outdated,
        )
        return self._optimization.run(chunk, steering)
