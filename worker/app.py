"""The worker process: everything built from settings, then Celery until a signal ends it."""

import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any

import torch
from celery import signals

from nst_core.blobs import BlobStore
from nst_core.broker import Broker
from nst_core.memory import keep_freed_memory
from nst_core.protocol import Method
from nst_core.segments import TRAIN_TASK
from nst_core.stylize import Stylizer, resolve_device
from worker.engine import Engine
from worker.models import ModelCache
from worker.optimize import Optimization
from worker.pipeline import Pipeline
from worker.settings import WorkerSettings
from worker.tasks import OptimizeTask, StylizeTask
from worker.train import TrainTask
from worker.turns import QueueTurns
from worker.watchdog import Watchdog

_log = logging.getLogger(__name__)
#: Queues whose tasks may take longer than Redis waits before it delivers a message again: those messages are
#: acknowledged at once, and the lease in the database is enough.
_LONG = frozenset({Method.OPTIMIZE.queue, TRAIN_TASK})
#: Exit code of a worker that was told twice to end, as shells have it for SIGTERM.
EX_IMPATIENT = 128 + signal.SIGTERM


def run_worker(settings: WorkerSettings) -> int:
    """Work until SIGTERM or Ctrl+C, then complete the images in flight; return the exit code.

    Images that are not begun are given back. A second SIGTERM ends the process at once, and so does its being stuck.
    It configures the whole process: logging, signals, the threads of torch.
    """
    configure_logging(settings.log_level)
    keep_freed_memory()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    name = worker_name()
    stop = Event()
    broker, blobs, engine = Broker(settings), BlobStore(settings), Engine()
    watchdog = Watchdog(stuck_after_s=settings.stuck_after_s, engine_busy_s=lambda: engine.busy_s)
    pipeline = Pipeline(settings, blobs=blobs, engine=engine)
    models = ModelCache(
        blobs,
        lambda data: Stylizer.load(data, device=device),
        capacity_bytes=settings.cache_bytes,
    )
    optimization = Optimization(settings, blobs=blobs, engine=engine, device=device)
    train = TrainTask(settings, name=name, broker=broker, blobs=blobs, engine=engine, device=device, stop=stop)
    tasks: dict[str, Callable[[Any], None]] = {
        Method.FEEDFORWARD.queue: StylizeTask(
            settings, name=name, broker=broker, models=models, pipeline=pipeline, watchdog=watchdog, stop=stop
        ),
        Method.OPTIMIZE.queue: OptimizeTask(
            settings, name=name, broker=broker, optimization=optimization, watchdog=watchdog, stop=stop
        ),
        TRAIN_TASK: train,
    }
    slots = {
        Method.FEEDFORWARD.queue: settings.concurrency,
        Method.OPTIMIZE.queue: settings.optimize_concurrency,
        TRAIN_TASK: settings.train_concurrency,
    }
    _log.info("worker %s on %s, %d threads", name, device, torch.get_num_threads())
    watchdog.start()
    try:
        with stopping(stop):
            return serve(broker, tasks, name=name, slots={queue: count for queue, count in slots.items() if count})
    finally:
        watchdog.close()
        train.close()
        pipeline.close()
        engine.close()
        broker.close()


def serve(broker: Broker, tasks: Mapping[str, Callable[[Any], None]], *, name: str, slots: Mapping[str, int]) -> int:
    """Run Celery until a signal ends it, with so many tasks of each queue at a time; return the exit code.

    A queue's task has the queue's name.
    """
    for queue in slots:
        broker.celery.task(_as_function(tasks[queue]), name=queue, acks_late=queue not in _LONG)
    broker.celery.conf.worker_redirect_stdouts = False
    options = broker.celery.conf.broker_transport_options
    # Celery looks at its signals, and lets go of the connection, only between two polls of the queue, of 1 s each.
    options["polling_interval"] = 0.2
    options["queue_order_strategy"] = partial(QueueTurns, slots)
    code: int | None = broker.celery.worker_main(
        [
            "--quiet",
            "worker",
            "--pool=threads",  # one process holds the network, and a second chunk overlaps the edges of the first
            f"--concurrency={sum(slots.values())}",
            f"--queues={','.join(slots)}",
            f"--hostname={name}",
            "--without-mingle",
            "--without-gossip",
            "--without-heartbeat",
        ]
    )
    return code or 0


def _as_function(task: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a task as Celery takes it: as a function with a name of its own."""

    def work(message: Any) -> None:
        task(message)

    work.__name__ = type(task).__name__
    return work


@contextmanager
def stopping(stop: Event, *, leave: Callable[[int], object] = os._exit) -> Iterator[None]:
    """Set `stop` as soon as Celery is told to shut down; its warm shutdown then waits for the tasks to return.

    Who asks a second time does not want to wait for them: the process ends at once, and the leases of what it had in
    hand run out.
    """

    def on_shutdown(**_: Any) -> None:
        if stop.is_set():
            leave(EX_IMPATIENT)
        stop.set()

    signals.worker_shutting_down.connect(on_shutdown, weak=False)
    try:
        yield
    finally:
        signals.worker_shutting_down.disconnect(on_shutdown)


def configure_logging(level: str) -> None:
    """Log to the standard error in one format, and keep Celery from setting up its own."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signals.setup_logging.connect(_leave_logging_alone)
    # A chunk has one line of its own; Celery's lines of what it received and what it completed add nothing.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def worker_name() -> str:
    """Return a name that no other worker process has, in Celery's form name@host."""
    return f"{os.getpid()}-{secrets.token_hex(2)}@{socket.gethostname()}"


def _leave_logging_alone(**_: Any) -> None:
    """Stand in for Celery's own set-up of logging."""
