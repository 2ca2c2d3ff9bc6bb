"""The worker process: everything built from settings, then Celery until a signal ends it."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread

import torch

from nst_core.decoding.decoder import DecoderPool, shared_pool
from nst_core.errors import BlobError, BlobUnavailableError, EngineError
from nst_core.inference.engines import load_stylizer
from nst_core.inference.selection import choose
from nst_core.inference.stylizer import EngineChoice
from nst_core.nets import native
from nst_core.settings import secrets_of
from nst_core.storage.blobs import BlobStore
from nst_core.storage.self_test import StorageTest, check_disk
from nst_core.styles import shipped_styles
from nst_core.system import logs, traces
from nst_core.system.devices import exact_float32, resolve_device
from nst_core.system.files import usable_cache_folder
from nst_core.system.heartbeat import Heartbeat
from nst_core.system.memory import FreedMemory, keep_freed_memory
from nst_core.system.monitoring import new_registry, serving
from worker.methods import all_methods
from worker.runtime.broker import WorkerBroker
from worker.runtime.celery_logs import tame_celery
from worker.runtime.consumer import Consumer, call_when_ready, serve, stopping, worker_name
from worker.runtime.engine import Engine
from worker.runtime.health import Health, Recovery, SelfTest
from worker.runtime.metrics import WorkerMetrics
from worker.runtime.outcomes import InterruptedWorkError
from worker.runtime.pulse import Pulse
from worker.runtime.retirement import EX_IOERR, EX_NOPERM, Retirement
from worker.runtime.watchdog import EX_TEMPFAIL, Watchdog
from worker.runtime.work import Parts
from worker.segments.work import Train
from worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
#: The longest pause between two tests of a storage that does not answer.
_LONGEST_WAIT_S = 10.0
#: The longest time for the choice of an engine, which takes a second on an idle machine.
_CHOICE_S = 120.0


def run_worker(settings: WorkerSettings) -> int:
    """Work until SIGTERM or Ctrl-C, then complete the images that were started; return the exit code.

    Images that were not started are given back. A second SIGTERM ends the process at once. A worker that is stuck or
    sick ends, too. It takes no work before it has tested the storage and made an image. If its credentials are refused
    or its disk fails, it returns its work to the queue and ends with EX_NOPERM or EX_IOERR.

    Configures the whole process: logging, signals, and torch's threads.
    """
    logs.hide(*secrets_of(settings))
    logs.configure("worker", level=settings.log_level, form=settings.log_format)
    tame_celery(settings.log_level)
    keep_freed_memory()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    if not settings.tf32:
        exact_float32()
    heartbeat = Heartbeat(settings.heartbeat_file)
    with ExitStack() as closing:
        heartbeat.start()
        closing.callback(heartbeat.close)
        registry = new_registry(disk=usable_cache_folder(settings.cache_dir))
        closing.enter_context(serving(registry, host=settings.metrics_host, port=settings.metrics_port))
        return _run(settings, device, heartbeat, WorkerMetrics(registry), closing)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a worker with some settings computes with on this machine."""

    device: str
    #: The name of the GPU, or the instructions that torch uses on the CPU.
    processor: str
    engine: str
    precision: str
    threads: int
    #: Whether the kernels in C were compiled.
    kernels: bool


def probe(settings: WorkerSettings) -> Probe:
    """Return what a worker would compute with; raise ConfigError or EngineError as it would."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    folder = usable_cache_folder(settings.cache_dir)
    choice = choose(device, engine=settings.engine, precision=settings.precision, folder=folder)
    is_gpu = device.type == "cuda"
    return Probe(
        device=str(device),
        processor=torch.cuda.get_device_name(device) if is_gpu else torch.backends.cpu.get_cpu_capability(),
        engine=choice.engine,
        precision=choice.precision,
        threads=torch.get_num_threads(),
        kernels=native.library() is not None,
    )


def _run(
    settings: WorkerSettings, device: torch.device, heartbeat: Heartbeat, metrics: WorkerMetrics, closing: ExitStack
) -> int:
    # It starts beside everything else. If that fails, so does the self-test.
    Thread(target=_start_decoder, args=(shared_pool(),), name="decoder", daemon=True).start()
    name, stop, retirement, freed = worker_name(), Event(), Retirement(), FreedMemory()
    logs.identify(worker=name)
    closing.enter_context(traces.sending("nst-worker", instance=name))
    broker, engine = WorkerBroker(settings), Engine(trim=lambda idle: freed.trim(idle=idle), observe=metrics.observe)
    metrics.watch_engine(queued=lambda: engine.queued, busy_s=lambda: engine.busy_s)
    closing.callback(broker.close)
    closing.callback(engine.close)
    hasty = WorkerBroker(settings, patient=False)
    closing.callback(hasty.close)
    pulse = Pulse(hasty.ping, stop=stop)
    watchdog = Watchdog(
        stuck_after_s=settings.stuck_after_s, engine_busy_s=lambda: engine.busy_s, is_silent=pulse.is_silent
    )
    choice = _chosen(settings, device, engine, watchdog)
    metrics.describe(choice, device=str(device))
    hasty.check_access()
    blobs = BlobStore(settings)
    storage_test = StorageTest(blobs, name)
    if (fault := storage_fault(storage_test)) is not None:
        _log.critical("this worker cannot use its storage: %s", fault)
        return EX_NOPERM
    self_test = SelfTest(
        lambda: load_stylizer(shipped_styles()[0].weights(), device=device, choice=choice),
        engine=engine,
        timeout_s=settings.stuck_after_s,
    )
    if not _passes(self_test, watchdog):
        return EX_TEMPFAIL
    answers = StorageTest(BlobStore(settings, patient=False), name)
    parts = Parts(
        settings=settings,
        name=name,
        broker=broker,
        watchdog=watchdog,
        stop=stop,
        recovered=_recovery(settings, self_test, storage_test, answers, watchdog, retirement, stop, metrics),
        blobs=blobs,
        engine=engine,
        device=device,
        choice=choice,
        closing=closing,
        metrics=metrics,
    )
    consumers = _consumers(parts)
    _log.info("worker %s on %s, engine %s, %d threads", name, device, choice, torch.get_num_threads())
    watchdog.start()
    # The watchdog itself watches the engine, the work and Celery's loop.
    heartbeat.watch("the watchdog", lambda: watchdog.looks)
    closing.callback(watchdog.close)
    with stopping(stop), call_when_ready(heartbeat.ready), call_when_ready(metrics.ready):
        code = serve(broker, consumers, name=name, pulse=pulse)
    return _exit_code(code, retirement, stop)


def _exit_code(code: int, retirement: Retirement, stop: Event) -> int:
    """Return the exit code of this process after Celery ended with a code."""
    if retirement.code is not None:
        return retirement.code
    if code == 0 and not stop.is_set():
        # Celery returns 0 after any error, and a supervisor could think that the end was requested.
        _log.critical("Celery ended although nothing told it to")
        return EX_TEMPFAIL
    return code


def _start_decoder(pool: DecoderPool) -> None:
    with suppress(EngineError):
        pool.start()


def _chosen(settings: WorkerSettings, device: torch.device, engine: Engine, watchdog: Watchdog) -> EngineChoice:
    """Return the engine for photos; end the process if one hangs while it is tried."""
    folder = usable_cache_folder(settings.cache_dir)
    choosing = engine.submit(
        lambda: choose(device, engine=settings.engine, precision=settings.precision, folder=folder)
    )
    try:
        return choosing.result(_CHOICE_S)
    except TimeoutError:
        watchdog.end(f"stuck: the choice of an engine has taken {_CHOICE_S:g} seconds")
        raise


def _passes(self_test: SelfTest, watchdog: Watchdog) -> bool:
    """Return whether this worker can make an image; end the process if it hangs."""
    try:
        self_test()
    except TimeoutError:
        watchdog.end("stuck: the self-test")
        raise
    except Exception as error:  # noqa: BLE001 - it would happen with every image
        _log.critical("this worker cannot make an image", exc_info=error)
        return False
    return True


def _consumers(parts: Parts) -> dict[str, Consumer]:
    """Return what works on each queue that this worker takes messages from."""
    return {
        work.queue: Consumer(task=work.task(parts), slots=slots, is_long=work.is_long)
        for work in (*all_methods(), Train())
        if (slots := work.slots(parts.settings))
    }


def storage_fault(test: Callable[[], None], *, sleep: Callable[[float], object] = time.sleep) -> BlobError | None:
    """Return why the storage refuses this worker, or None. Wait while the storage does not answer."""
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
    answers: Callable[[], None],
    watchdog: Watchdog,
    retirement: Retirement,
    stop: Event,
    metrics: WorkerMetrics,
) -> Recovery:
    ill_after_s = settings.ill_after_s

    def pause(seconds: float) -> None:
        if stop.wait(seconds):
            raise InterruptedWorkError

    return Recovery(
        engine=Health(self_test, ill_after_s=ill_after_s, leave=watchdog.end, on_change=partial(metrics.ill, "engine")),
        storage=Health(
            storage_test,
            ill_after_s=ill_after_s,
            leave=partial(retirement.retire, code=EX_NOPERM),
            able_to="use its storage",
            on_change=partial(metrics.ill, "storage"),
        ),
        disk=Health(
            check_disk,
            ill_after_s=ill_after_s,
            leave=partial(retirement.retire, code=EX_IOERR),
            able_to="write to its disk",
            on_change=partial(metrics.ill, "disk"),
        ),
        outage=Health(
            answers,
            ill_after_s=settings.outage_s,
            leave=partial(retirement.retire, code=EX_TEMPFAIL),
            able_to="reach its storage",
            on_change=partial(metrics.ill, "outage"),
            not_of_this=(),
            sleep=pause,
        ),
    )
