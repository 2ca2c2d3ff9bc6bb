"""Training, as a kind of work."""

from nst_core.protocol.segments import TRAIN_TASK
from worker.runtime.work import Parts, Work
from worker.segments.task import TrainTask
from worker.settings import WorkerSettings


class Train(Work):
    """Works on the segments of training runs."""

    queue = TRAIN_TASK
    is_long = True

    def slots(self, settings: WorkerSettings) -> int:
        """Return NST_TRAIN_CONCURRENCY."""
        return settings.train_concurrency

    def task(self, parts: Parts) -> TrainTask:
        """Return the task."""
        task = TrainTask(
            parts.settings,
            name=parts.name,
            broker=parts.broker,
            blobs=parts.blobs,
            engine=parts.engine,
            device=parts.device,
            stop=parts.stop,
            recovered=parts.recovered,
            on_step=parts.metrics.stepped,
        )
        parts.closing.callback(task.close)
        return task
