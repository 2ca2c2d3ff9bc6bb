"""What a worker measures for Prometheus; deploy/monitoring/README.md has a table of all metrics.

No label may have a value that clients choose, such as a job, a style or a file: Prometheus stores a series for each.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from nst_core import __version__
from nst_core.inference.stylizer import EngineChoice
from nst_core.metrics import Stage
from nst_core.training.step_losses import TERMS, StepLosses

_STAGE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TERMS = (*TERMS, "total")
#: What a worker tests after a failure; see `worker.runtime.health.Recovery`.
PARTS = ("engine", "storage", "disk", "outage")


class WorkerMetrics:
    """The measurements of one worker process. Safe to share between threads."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Add the metrics to a registry; all except those of the engine are there from the start."""
        registry = registry or CollectorRegistry()
        self._info = Info("nst_worker", "The version of nst, and the engine for photos", registry=registry)
        self._ready = Gauge("nst_worker_ready", "Whether the worker takes messages", registry=registry)
        self._ill = Gauge("nst_worker_ill", "Whether a part fails its test", ["part"], registry=registry)
        self._stages = Histogram(
            "nst_stage_seconds", "Time of a stage", ["stage"], buckets=_STAGE_BUCKETS_S, registry=registry
        )
        self._lookups = Counter(
            "nst_model_cache_lookups", "Networks that chunks asked for", ["result"], registry=registry
        )
        self._models = Gauge("nst_model_cache_bytes", "Memory of the networks that are loaded", registry=registry)
        self._queued = Gauge("nst_engine_queue_calls", "Calls that wait for the engine", registry=registry)
        self._busy = Gauge(
            "nst_engine_busy_seconds", "How long a call of the engine has made no progress", registry=registry
        )
        self._steps = Counter("nst_training_steps", "Steps of trainings", registry=registry)
        self._losses = Gauge("nst_training_loss", "Weighted loss of the last step", ["term"], registry=registry)
        # A counter that begins with 1 looks to Prometheus as if nothing had happened.
        for stage in Stage:
            self._stages.labels(stage)
        for hit in (True, False):
            self._lookups.labels(_result(hit))
        for part in PARTS:
            self._ill.labels(part)

    def observe(self, stage: Stage, seconds: float, /) -> None:
        """Take note of one stage that was completed."""
        self._stages.labels(stage).observe(seconds)

    def describe(self, choice: EngineChoice, *, device: str) -> None:
        """Tell which engine runs photos, and on which device."""
        labels = {"engine": choice.engine, "precision": choice.precision, "device": device, "version": __version__}
        self._info.info(labels)

    def ready(self) -> None:
        """Tell that the worker takes messages."""
        self._ready.set(1)

    def ill(self, part: str, is_ill: bool) -> None:
        """Tell whether a part of this process fails its test."""
        self._ill.labels(part).set(is_ill)

    def looked_up(self, hit: bool) -> None:
        """Count a network that a chunk asked for; `hit` says whether it was loaded already."""
        self._lookups.labels(_result(hit)).inc()

    def stepped(self, losses: StepLosses) -> None:
        """Count a step of a training."""
        self._steps.inc()
        for term in _TERMS:
            self._losses.labels(term).set(getattr(losses, term))

    def watch_engine(self, *, queued: Callable[[], float], busy_s: Callable[[], float]) -> None:
        """Ask the engine whenever the metrics are read."""
        self._queued.set_function(queued)
        self._busy.set_function(busy_s)

    def watch_models(self, nbytes: Callable[[], float]) -> None:
        """Ask the cache of networks for its size whenever the metrics are read."""
        self._models.set_function(nbytes)


def _result(hit: bool) -> str:
    return "hit" if hit else "miss"
