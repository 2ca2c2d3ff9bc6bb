"""The method optimize, as a worker sees it."""

from nst_core.protocol.chunks import OptimizeChunk
from worker.methods.optimize.course import Optimization
from worker.methods.optimize.task import OptimizeTask
from worker.runtime.work import Parts, Work
from worker.settings import WorkerSettings


class Optimize(Work):
    """Optimises the pixels of photos."""

    queue = OptimizeChunk.queue
    is_long = OptimizeTask.is_long

    def slots(self, settings: WorkerSettings) -> int:
        """Return NST_OPTIMIZE_CONCURRENCY."""
        return settings.optimize_concurrency

    def task(self, parts: Parts) -> OptimizeTask:
        """Return the task."""
        optimization = Optimization(
            parts.settings, blobs=parts.blobs, engine=parts.engine, device=parts.device, recovered=parts.recovered
        )
        return OptimizeTask(parts, optimization=optimization)
