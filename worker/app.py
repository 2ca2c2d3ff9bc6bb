"""The worker process: everything built from settings, then Celery until a signal ends it."""

import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import torch
from celery import signals

from nst_core.errors import BlobError, BlobUnavailableError, ProtocolError
from nst_core.inference.engines import load_stylizer
from nst_core.storage.blobs import BlobStore
from nst_core.storage.self_test import StorageTest, check_disk
from nst_core.styles import shipped_styles
from nst_core.system.devices import exact_float32, resolve_device
from nst_core.system.heartbeat import Heartbeat
from nst_core.system.memory import FreedMemory, keep_freed_memory
from worker.methods import all_methods
from worker.runtime.broker import WorkerBroker
from worker.runtime.engine import Engine
from worker.runtime.health import Health, Recovery, SelfTest
from worker.runtime.logs import configure_logging
from worker.runtime.outcomes import InterruptedWorkError
from worker.runtime.pulse import Pulse
from worker.runtime.retirement import EX_IOERR, EX_NOPERM, Retirement
from worker.runtime.turns import QueueTurns
from worker.runtime.watchdog import EX_TEMPFAIL, Watchdog
from worker.runtime.work import Parts
from worker.segments.work import Train
from worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
#: Pauses between two looks whether the storage answers grow up to this.
_LONGEST_WAIT_S = 10.0
#: Exit code of a worker that was told twice to end, as shells have it for SIGTERM.
EX_IMPATIENT = 128 + signal.SIGTERM


def run_worker(settings: WorkerSettings) -> int:
    """Work until SIGTERM or Ctrl+C, then complete the images in flight; return the exit code.

    Images that are not begun are given back. A second SIGTERM ends the process at once, and so does its being stuck or
    ill; it does not begin to work before it has used the storage and made an image. A worker whose credentials are
    refused, or whose disk fails, gives its work back and ends with EX_NOPERM or EX_IOERR.
    It configures the whole process: logging, signals, the threads of torch.
    """
    configure_logging(settings.log_level)
    keep_freed_memory()
    freed = FreedMemory()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    if not settings.tf32:
        exact_float32()
    name, stop = worker_name(), Event()
    heartbeat = Heartbeat(settings.heartbeat_file)
    with ExitStack() as closing:
        heartbeat.start()
        closing.callback(heartbeat.close)
        broker, engine = WorkerBroker(settings), Engine(trim=lambda idle: freed.trim(idle=idle))
        closing.callback(broker.close)
        closing.callback(engine.close)
        hasty = WorkerBroker(settings, patient=False)
        closing.callback(hasty.close)
        hasty.check_access()
        pulse = Pulse(hasty.ping, stop=stop)
        watchdog = Watchdog(
            stuck_after_s=settings.stuck_after_s, engine_busy_s=lambda: engine.busy_s, is_silent=pulse.is_silent
        )
        blobs = BlobStore(settings)
        storage_test = StorageTest(blobs, name)
        if (fault := storage_fault(storage_test)) is not None:
            _log.critical("this worker cannot use its storage: %s", fault)
            return EX_NOPERM
        self_test = SelfTest(
            lambda: load_stylizer(shipped_styles()[0].weights(), device=device),
            engine=engine,
            timeout_s=settings.stuck_after_s,
        )
        try:
            self_test()
        except Exception as error:  # noqa: BLE001 - whatever it is, it would be the same for each image
            _log.critical("this worker can make no image", exc_info=error)
            return EX_TEMPFAIL
        retirement = Retirement()
        recovery = _recovery(
            settings,
            self_test,
            storage_test,
            answers=StorageTest(BlobStore(settings, patient=False), name),
            watchdog=watchdog,
            retirement=retirement,
            stop=stop,
        )
        parts = Parts(
            settings=settings,
            name=name,
            broker=broker,
            watchdog=watchdog,
            stop=stop,
            recovered=recovery,
            blobs=blobs,
            engine=engine,
            device=device,
            closing=closing,
        )
        consumers = {
            work.queue: Consumer(task=work.task(parts), slots=slots, is_long=work.is_long)
            for work in (*all_methods(), Train())
            if (slots := work.slots(settings))
        }
        _log.info("worker %s on %s, %d threads", name, device, torch.get_num_threads())
        watchdog.start()
        # Engine, work in hand and Celery's loop are the watchdog's to watch.
        heartbeat.watch("the watchdog", lambda: watchdog.looks)
        closing.callback(watchdog.close)
        with stopping(stop), _said_when_ready(heartbeat):
            code = serve(broker, consumers, name=name, pulse=pulse)
        if retirement.code is not None:
            return retirement.code
        if code == 0 and not stop.is_set():
            # Celery ends with 0 after any error, and a supervisor might take this for a wish.
            _log.critical("Celery has ended although nobody asked for it")
            return EX_TEMPFAIL
        return code


def storage_fault(test: Callable[[], None], *, sleep: Callable[[float], object] = time.sleep) -> BlobError | None:
    """Return why the storage refuses this worker, or None; wait as long as the storage does not answer."""
    wait_s = 1.0
    while True:
        try:
            test()
        except BlobUnavailableError as error:
            _log.warning("this worker waits for its storage: %s", error)
            sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        except BlobError as error:
            return error
        else:
            return None


def _recovery(
    settings: WorkerSettings,
    self_test: Callable[[], None],
    storage_test: Callable[[], None],
    *,
    answers: Callable[[], None],
    watchdog: Watchdog,
    retirement: Retirement,
    stop: Event,
) -> Recovery:
    ill_after_s = settings.ill_after_s

    def pause(seconds: float) -> None:
        if stop.wait(seconds):
            raise InterruptedWorkError

    return Recovery(
        engine=Health(self_test, ill_after_s=ill_after_s, leave=watchdog.end),
        storage=Health(
            storage_test,
            ill_after_s=ill_after_s,
            leave=partial(retirement.retire, code=EX_NOPERM),
            able_to="use its storage",
        ),
        disk=Health(
            check_disk,
            ill_after_s=ill_after_s,
            leave=partial(retirement.retire, code=EX_IOERR),
            able_to="write to its disk",
        ),
        outage=Health(
            answers,
            ill_after_s=settings.outage_s,
            leave=partial(retirement.retire, code=EX_TEMPFAIL),
            able_to="reach its storage",
            not_of_this=(),
            sleep=pause,
        ),
    )


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

    `consumers` are by queue, which is also the name of the Celery task. Messages that no scheduler has signed are
    dropped.
    """
    slots = {queue: consumer.slots for queue, consumer in consumers.items()}
    for queue, consumer in consumers.items():
        broker.celery.task(_as_function(consumer.task, broker, queue), name=queue, acks_late=not consumer.is_long)
    broker.celery.conf.worker_redirect_stdouts = False
    options = broker.celery.conf.broker_transport_options
    # Celery looks at its signals, and lets go of the connection, only between two polls of the queue, of 1 s each.
    options["polling_interval"] = 0.2
    options["queue_order_strategy"] = partial(QueueTurns, slots, pulse.beat)
    code: int | None = broker.celery.worker_main(
        [
            "--quiet",
            "worker",
            "--pool=threads",  # one process holds the network, and a second chunk overlaps the edges of the first
            # One more than is ever used: a full worker would look into no queue, and seem to hang.
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
    """Return a task as Celery takes it: as a function with a name of its own, which opens messages."""

    def work(message: Any = None) -> None:
        try:
            values = broker.open(queue, message)
        except ProtocolError as error:
            # Acknowledged all the same: it would be as wrong the next time.
            _log.error("dropped a message of the queue %s: %s", queue, error)
        else:
            task(values)

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


@contextmanager
def _said_when_ready(heartbeat: Heartbeat) -> Iterator[None]:
    """Say in the heartbeat when Celery begins to ask for messages."""

    def on_ready(**_: Any) -> None:
        heartbeat.ready()

    signals.worker_ready.connect(on_ready, weak=False)
    try:
        yield
    finally:
        signals.worker_ready.disconnect(on_ready)


def worker_name() -> str:
    """Return a name that no other worker process has, in Celery's form name@host."""
    return f"{os.getpid()}-{secrets.token_hex(2)}@{socket.gethostname()}"
