"""The method feedforward, as a worker sees it."""

from nst_core.inference.engines import load_stylizer
from nst_core.metrics import all_of
from nst_core.protocol.chunks import StylizeChunk
from nst_core.system import traces
from worker.methods.stylize.models import ModelCache
from worker.methods.stylize.pipeline import Pipeline
from worker.methods.stylize.task import StylizeTask
from worker.runtime.limits import work_bytes
from worker.runtime.work import Parts, Work
from worker.settings import WorkerSettings


class Feedforward(Work):
    """Stylizes photos with trained networks."""

    queue = StylizeChunk.queue

    def slots(self, settings: WorkerSettings) -> int:
        """Return NST_CONCURRENCY."""
        return settings.concurrency

    def task(self, parts: Parts) -> StylizeTask:
        """Return the task."""
        budget_bytes = work_bytes(parts.settings, parts.device)
        pipeline = Pipeline(
            parts.settings,
            blobs=parts.blobs,
            engine=parts.engine,
            recovered=parts.recovered,
            budget_bytes=budget_bytes,
            observe=all_of(parts.metrics.observe, traces.observe),
        )
        parts.closing.callback(pipeline.close)
        models = ModelCache(
            parts.blobs,
            lambda data, style, choice: load_stylizer(
                data,
                style=style,
                device=parts.device,
                choice=choice,
                budget_bytes=budget_bytes,
                progress=parts.engine.proceed,
            ),
            capacity_bytes=parts.settings.cache_bytes,
            on_lookup=parts.metrics.looked_up,
        )
        parts.metrics.watch_models(lambda: models.nbytes)
        return StylizeTask(parts, models=models, pipeline=pipeline, choice=parts.choice)
