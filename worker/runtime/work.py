"""Kinds of work: each has a queue of its own, and a task that works on the messages in it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event
from typing import Any, ClassVar

import torch

from nst_core.inference.stylizer import EngineChoice
from nst_core.storage.blobs import BlobStore
from worker.runtime.broker import WorkerBroker
from worker.runtime.engine import Engine
from worker.runtime.isolation import Isolation
from worker.runtime.metrics import WorkerMetrics
from worker.runtime.outcomes import Recovered
from worker.runtime.watchdog import Watchdog
from worker.settings import WorkerSettings


@dataclass(frozen=True, kw_only=True)
class TaskParts:
    """What every task of a worker needs."""

    settings: WorkerSettings
    #: The worker's name, for reports.
    name: str
    broker: WorkerBroker
    watchdog: Watchdog
    #: Set when the worker is told to shut down.
    stop: Event
    #: Tells failures of the work from failures of the process.
    recovered: Recovered = lambda problem: False
    #: Shared by all tasks: work that may have killed workers runs alone.
    isolation: Isolation = field(default_factory=Isolation)


@dataclass(frozen=True, kw_only=True)
class Parts(TaskParts):
    """The parts of a worker that its kinds of work share."""

    blobs: BlobStore
    engine: Engine
    device: torch.device
    #: The engine that runs styles, unless a job asks for the exact one.
    choice: EngineChoice
    #: Closes what a kind of work leaves open, at the end of the process.
    closing: ExitStack
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)


class Work(ABC):
    """One kind of work. A method of stylization is one, and training is another."""

    #: The Celery queue, which is also the name of the task.
    queue: ClassVar[str]
    #: A message can take longer than Redis waits before it delivers the message again. Such a message is acknowledged
    #: when it is taken, and only the lease in the scheduler's database protects it.
    is_long: ClassVar[bool] = False

    @abstractmethod
    def slots(self, settings: WorkerSettings) -> int:
        """Return how many messages a worker takes at the same time; 0 if it takes none."""

    @abstractmethod
    def task(self, parts: Parts) -> Callable[[Any], None]:
        """Return the task, which is called with the values of each message."""
