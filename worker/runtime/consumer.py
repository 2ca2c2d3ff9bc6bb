"""Celery's side of a worker: its command line, its signals, and tasks as it takes them."""

import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

from celery import signals

from nst_core.errors import ProtocolError
from worker.runtime.broker import WorkerBroker
from worker.runtime.pulse import Pulse
from worker.runtime.turns import QueueTurns

_log = logging.getLogger(__name__)
#: Exit code of a worker that was told twice to end: what shells report for SIGTERM.
EX_IMPATIENT = 128 + signal.SIGTERM


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """What a worker does with the messages of one queue."""

    task: Callable[[Any], None]
    #: How many messages it takes at the same time.
    slots: int
    #: See `Work.is_long`.
    is_long: bool = False


def serve(broker: WorkerBroker, consumers: Mapping[str, Consumer], *, name: str, pulse: Pulse) -> int:
    """Run Celery until a signal ends it, and return the exit code.

    The keys of `consumers` are queues, which are also the names of the Celery tasks. Messages without the signature of
    a scheduler are dropped.
    """
    slots = {queue: consumer.slots for queue, consumer in consumers.items()}
    for queue, consumer in consumers.items():
        broker.celery.task(_as_function(consumer.task, broker, queue), name=queue, acks_late=not consumer.is_long)
    broker.celery.conf.worker_redirect_stdouts = False
    options = broker.celery.conf.broker_transport_options
    # Celery handles signals only between two polls of its queues, which take 1 s by default.
    options["polling_interval"] = 0.2
    options["queue_order_strategy"] = partial(QueueTurns, slots, pulse.beat)
    code: int | None = broker.celery.worker_main(
        [
            "--quiet",
            "worker",
            "--pool=threads",  # one process keeps the network loaded, and a second chunk fills the gaps of the first
            # One more than is ever used: a full worker polls no queue, and would look as if it hangs.
            f"--concurrency={sum(slots.values()) + 1}",
            f"--queues={','.join(slots)}",
            f"--hostname={name}",
            "--without-mingle",
            "--without-gossip",
            "--without-heartbeat",
        ]
    )
    return code or 0


def _as_function(task: Callable[[Any], None], broker: WorkerBroker, queue: str) -> Callable[[Any], None]:
    """Wrap a task for Celery: a function with a name, which checks and opens messages."""

    def work(message: Any = None) -> None:
        try:
            values = broker.open(queue, message)
        except ProtocolError as error:
            # It is acknowledged, since it would be just as wrong the next time.
            _log.error("dropped a message of the queue %s: %s", queue, error)
        else:
            task(values)

    work.__name__ = type(task).__name__
    return work


@contextmanager
def stopping(stop: Event, *, leave: Callable[[int], object] = os._exit) -> Iterator[None]:
    """Set `stop` when Celery is told to shut down. Its warm shutdown then waits until the tasks return.

    A second signal ends the process at once, and the leases of its work run out.
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


@contextmanager
def call_when_ready(function: Callable[[], object]) -> Iterator[None]:
    """Call a function when Celery begins to ask for messages."""

    def on_ready(**_: Any) -> None:
        function()

    signals.worker_ready.connect(on_ready, weak=False)
    try:
        yield
    finally:
        signals.worker_ready.disconnect(on_ready)


def worker_name() -> str:
    """Return a unique name for this process, in Celery's form name@host."""
    return f"{os.getpid()}-{secrets.token_hex(2)}@{socket.gethostname()}"
