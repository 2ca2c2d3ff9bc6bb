"""The Celery task of the optimize method."""

from collections.abc import Iterator

from nst_core.protocol.chunks import OptimizeChunk
from nst_core.protocol.events import ItemOutcome
from worker.methods.optimize.course import Optimization
from worker.methods.report import ChunkReport
from worker.methods.task import ChunkTask
from worker.runtime.steering import Steering
from worker.runtime.work import TaskParts


class OptimizeTask(ChunkTask[OptimizeChunk]):
    """Optimises the photos of a chunk, one after the other."""

    chunk = OptimizeChunk
    is_long = True

    def __init__(self, parts: TaskParts, *, optimization: Optimization) -> None:
        super().__init__(parts)
        self._optimization = optimization

    def _outcomes(self, chunk: OptimizeChunk, report: ChunkReport) -> Iterator[ItemOutcome]:
        steering = Steering(
            going=lambda: self._going(report),
            wanted=lambda: not report.unwanted,
            on_progress=report.note,
            touch=report.touch,
            outdated=report.is_outdated,
        )
        return self._optimization.run(chunk, steering)
