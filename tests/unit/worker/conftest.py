"""Fixtures for the worker's tests: parts of the worker on real servers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest
import torch

from nst_core.inference.engines import load_stylizer
from nst_core.inference.stylizer import EXACT, EngineChoice, Stylizer
from nst_core.nets import families
from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore
from tests.brokers import Broker
from tests.unit.worker.kit import Style, store_style
from worker.methods.stylize.models import Model, ModelCache
from worker.methods.stylize.pipeline import Pipeline
from worker.methods.stylize.task import StylizeTask
from worker.runtime.engine import Engine
from worker.runtime.watchdog import Watchdog
from worker.runtime.work import TaskParts
from worker.settings import WorkerSettings


@pytest.fixture
def settings(redis_server: BrokerSettings, s3_server: StorageSettings, tmp_path: Path) -> WorkerSettings:
    """The settings of a worker that uses the tests' servers."""
    return WorkerSettings(
        **{**redis_server.model_dump(), **s3_server.model_dump()},
        device="cpu",
        cache_dir=tmp_path / "cache",
        lookahead=3,
        heartbeat_s=0.2,
        progress_s=0.05,
        train_progress_s=0.05,
    )


@pytest.fixture
def style(blobs: BlobStore, tmp_path: Path) -> Style:
    """A tiny style in storage."""
    return store_style(blobs, tmp_path)


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine whose networks use one thread, which is fastest for tiny pictures."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    engine = Engine()
    yield engine
    engine.close()
    torch.set_num_threads(before)


@pytest.fixture
def pipeline_engine() -> Iterator[Engine]:
    """The engine of the pipeline."""
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture
def pipeline(settings: WorkerSettings, blobs: BlobStore, pipeline_engine: Engine) -> Iterator[Pipeline]:
    """A pipeline with its own engine."""
    pipeline = Pipeline(settings, blobs=blobs, engine=pipeline_engine)
    yield pipeline
    pipeline.close()


def quiet_watchdog() -> Watchdog:
    """Return a watchdog that never looks."""
    return Watchdog(stuck_after_s=600, engine_busy_s=lambda: 0.0)


Build = Callable[[bytes, families.Style, EngineChoice], Model]


def build(data: bytes, style: families.Style, choice: EngineChoice) -> Stylizer:
    """Load a style, as a worker does."""
    return load_stylizer(data, style=style, choice=choice)


@dataclass
class Worker:
    """A worker without Celery: the task and its parts."""

    settings: WorkerSettings
    broker: Broker
    blobs: BlobStore
    pipeline: Pipeline
    engine: Engine
    stop: Event = field(default_factory=Event)

    @property
    def parts(self) -> TaskParts:
        """The parts that each task of the worker needs."""
        return TaskParts(
            settings=self.settings, name="w@test", broker=self.broker, watchdog=quiet_watchdog(), stop=self.stop
        )

    def task(
        self, build: Build = build, *, blobs: BlobStore | None = None, choice: EngineChoice = EXACT
    ) -> StylizeTask:
        """Return the task. `build` makes its networks, and `choice` is the worker's engine."""
        models = ModelCache(blobs or self.blobs, build, capacity_bytes=1 << 20)
        return StylizeTask(self.parts, models=models, pipeline=self.pipeline, choice=choice)


@pytest.fixture
def worker(
    settings: WorkerSettings, broker: Broker, blobs: BlobStore, pipeline: Pipeline, pipeline_engine: Engine
) -> Worker:
    """A worker on an empty Redis."""
    return Worker(settings, broker, blobs, pipeline, pipeline_engine)
