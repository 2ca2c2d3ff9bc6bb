"""Tests of worker.runtime.metrics."""

from prometheus_client import CollectorRegistry

from nst_core import __version__
from nst_core.inference.stylizer import EngineChoice
from nst_core.metrics import Stage
from nst_core.training.step_losses import StepLosses
from worker.runtime.engine import Engine
from worker.runtime.metrics import WorkerMetrics


def test_counters_are_there_from_the_start() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    for stage in Stage:
        assert registry.get_sample_value("nst_stage_seconds_count", {"stage": stage}) == 0
    for result in ("hit", "miss"):
        assert registry.get_sample_value("nst_model_cache_lookups_total", {"result": result}) == 0
    for part in ("engine", "storage", "disk", "outage"):
        assert registry.get_sample_value("nst_worker_ill", {"part": part}) == 0
    assert registry.get_sample_value("nst_worker_ready") == 0


def test_the_engine_and_the_parts_of_a_worker_are_described() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.describe(EngineChoice(engine="openvino", precision="fp32"), device="cpu")
    labels = {"engine": "openvino", "precision": "fp32", "device": "cpu", "version": __version__}
    assert registry.get_sample_value("nst_worker_info", labels) == 1
    metrics.ready()
    metrics.ill("storage", True)
    assert registry.get_sample_value("nst_worker_ready") == 1
    assert registry.get_sample_value("nst_worker_ill", {"part": "storage"}) == 1
    metrics.ill("storage", False)
    assert registry.get_sample_value("nst_worker_ill", {"part": "storage"}) == 0


def test_each_call_of_the_engine_is_timed() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    engine = Engine(observe=metrics.observe)
    metrics.watch_engine(queued=lambda: engine.queued, busy_s=lambda: engine.busy_s)
    engine.submit(lambda: None).result()
    engine.close()
    for stage in ("engine_wait", "engine_run"):
        assert registry.get_sample_value("nst_stage_seconds_count", {"stage": stage}) == 1
    assert registry.get_sample_value("nst_engine_queue_calls") == 0
    assert registry.get_sample_value("nst_engine_busy_seconds") == 0


def test_a_step_of_a_training_has_its_losses() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    assert registry.get_sample_value("nst_training_steps_total") == 0
    metrics.stepped(StepLosses(step=1, content=1.0, style=2.0, tv=0.5))
    metrics.stepped(StepLosses(step=2, content=2.0, style=3.0, tv=0.5))
    assert registry.get_sample_value("nst_training_steps_total") == 2
    assert registry.get_sample_value("nst_training_loss", {"term": "style"}) == 3.0
    assert registry.get_sample_value("nst_training_loss", {"term": "total"}) == 5.5


def test_the_cache_of_networks_is_asked_when_the_metrics_are_read() -> None:
    registry, sizes = CollectorRegistry(), iter([10, 20])
    metrics = WorkerMetrics(registry)
    metrics.watch_models(lambda: next(sizes))
    assert registry.get_sample_value("nst_model_cache_bytes") == 10
    metrics.looked_up(True)
    assert registry.get_sample_value("nst_model_cache_lookups_total", {"result": "hit"}) == 1
