"""One scheduler process: the API and the control loops, put together from the settings."""

import contextlib
import logging
import os
import random
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import uvicorn

from nst_core.settings import secrets_of
from nst_core.storage.blobs import BlobStore
from nst_core.system import logs, traces
from nst_core.system.heartbeat import Heartbeat
from nst_core.system.monitoring import new_registry, serving
from scheduler.access.idempotency import Idempotency
from scheduler.access.keys import checked_key
from scheduler.access.limits import limits_of
from scheduler.access.tenants import Tenants
from scheduler.api.app import make_api, make_hub
from scheduler.api.connections import TimedProtocol, allow_connections
from scheduler.control.broker import Broker
from scheduler.control.clock_watch import ClockWatch, LeaseTimes
from scheduler.control.event_reader import EventReader
from scheduler.control.leadership import Leadership
from scheduler.control.metrics import Metrics
from scheduler.domain.jobs import FIRST_TENANT
from scheduler.jobs.backlog import BacklogReader
from scheduler.jobs.collector import ChunkCollector
from scheduler.jobs.dispatcher import Dispatcher
from scheduler.jobs.expiry import Expirer
from scheduler.jobs.finalizer import Finalizer
from scheduler.jobs.item_times import ItemTimes
from scheduler.jobs.methods import all_methods
from scheduler.jobs.planner import Planner
from scheduler.jobs.reaper import Reaper
from scheduler.jobs.service import JobService
from scheduler.jobs.withdrawal import Withdrawer
from scheduler.loops import Loops
from scheduler.monitoring import Monitor
from scheduler.retention.retention import Lifetimes, Retention
from scheduler.runs.collector import RunCollector
from scheduler.runs.control import RunControl, RunLimits
from scheduler.runs.finish import RunFinisher
from scheduler.runs.tidy import RunTidier
from scheduler.server import Server, listen
from scheduler.settings import SchedulerSettings
from scheduler.store.database import API_S, Database
from scheduler.store.keys import BOOTSTRAP
from scheduler.webhooks.address import Rules
from scheduler.webhooks.deliver import Deliverer
from scheduler.webhooks.send import Sender
from scheduler.webhooks.service import WebhookService
from scheduler.webhooks.vault import Vault

log = logging.getLogger(__name__)

#: The longest time that a thread keeps the interpreter while others wait. Python's default is ten times as long.
_SWITCH_S = 0.0005
#: The longest time for a tick, for example one that writes the reports of millions of images.
_TICK_S = 900.0
#: The longest time that the end of the process waits for ticks.
_STOP_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the API and the control loops share."""

    tenants: Tenants
    idempotency: Idempotency
    item_times: ItemTimes

    @classmethod
    def of(cls, settings: SchedulerSettings, database: Database) -> "Shared":
        """Return what the settings describe."""
        clock = time.time
        tenants = Tenants(
            database,
            clock=clock,
            bucket=settings.s3_bucket,
            buckets=frozenset({settings.s3_bucket, *settings.extra_buckets}),
            defaults=limits_of(settings),
        )
        return cls(
            tenants=tenants,
            idempotency=Idempotency(database, clock=clock),
            item_times=ItemTimes(clock=clock, first_guess=settings.chunk_size, target_s=settings.chunk_s),
        )


def make_loops(
    settings: SchedulerSettings,
    database: Database,
    broker: Broker,
    blobs: BlobStore,
    shared: Shared,
    metrics: Metrics | None = None,
) -> Loops:
    """Return the control loops, not started."""
    clock, tenants, item_times = time.time, shared.tenants, shared.item_times
    metrics = metrics or Metrics()
    windows = {name: method.window(settings) for name, method in all_methods().items()}
    chunks_s = {name: window.lease_s for name, window in windows.items()}
    limits, lease_s = RunLimits.of(settings), settings.lease_s
    return Loops(
        planner=Planner(database, blobs, item_times=item_times, page=settings.plan_page, tenants=tenants),
        dispatcher=Dispatcher(
            database,
            broker,
            clock=clock,
            bucket=settings.s3_bucket,
            crew=item_times.workers,
            windows=windows,
            weights=tenants.weights,
            metrics=metrics,
        ),
        events=_event_reader(settings, database, broker, item_times, metrics),
        reaper=Reaper(database, broker, clock=clock, lost_after_s=settings.lost_after_s, metrics=metrics),
        finalizer=Finalizer(database, blobs, clock=clock),
        expirer=Expirer(database, clock=clock),
        withdrawer=Withdrawer(database, broker),
        retention=Retention(
            database,
            blobs,
            clock=clock,
            idempotency=shared.idempotency,
            item_times=item_times,
            lifetimes=Lifetimes.of(settings),
        ),
        run_control=RunControl(
            database,
            broker,
            clock=clock,
            bucket=settings.s3_bucket,
            limits=limits,
            weights=tenants.weights,
            metrics=metrics,
        ),
        run_finisher=RunFinisher(database, blobs, clock=clock),
        run_tidier=RunTidier(database, blobs, clock=clock),
        deliverer=_deliverer(settings, database, metrics),
        clock_watch=ClockWatch(
            database, LeaseTimes(running_s=lease_s, chunks_s=chunks_s, segments_s=limits.dispatch_lease_s)
        ),
        observe=metrics.ticked,
    )


def _event_reader(
    settings: SchedulerSettings, database: Database, broker: Broker, item_times: ItemTimes, metrics: Metrics
) -> EventReader:
    clock, lease_s = time.time, settings.lease_s
    chunks = ChunkCollector(
        database,
        clock=clock,
        lease_s=lease_s,
        backoff_s=settings.retry_backoff_s,
        item_times=item_times,
        metrics=metrics,
    )
    runs = RunCollector(database, clock=clock, lease_s=lease_s, retries=RunLimits.of(settings).retries)
    return EventReader(
        broker,
        Leadership("collector", database, broker, clock=clock),
        apply_chunk=chunks.apply,
        apply_segment=runs.apply,
        clock=clock,
    )


def _deliverer(settings: SchedulerSettings, database: Database, metrics: Metrics) -> Deliverer:
    return Deliverer(
        database,
        Sender(Rules.of(settings), clock=time.time, ca_file=settings.webhook_ca_file),
        vault=Vault.of(settings),
        clock=time.time,
        random=random.random,
        retention_s=settings.event_retention_days * 86400,
        metrics=metrics,
    )


def run_scheduler(settings: SchedulerSettings) -> None:
    """Run the API and the control loops until the process is told to stop; raise NstError if they cannot start."""
    # A request needs the interpreter several times, and each time it may wait for a control loop.
    sys.setswitchinterval(_SWITCH_S)
    logs.hide(*secrets_of(settings))
    logs.configure("scheduler", level=settings.log_level, form=settings.log_format)
    instance = f"{os.getpid()}@{socket.gethostname()}"
    with traces.sending("nst-scheduler", instance=instance), ExitStack() as closing:
        _run(settings, closing)


def _run(settings: SchedulerSettings, closing: ExitStack) -> None:
    heartbeat = Heartbeat(settings.heartbeat_file)
    heartbeat.start()
    closing.callback(heartbeat.close)
    bootstrap_key = checked_key(settings.bootstrap_api_key)
    listener = closing.enter_context(listen(settings.host, settings.port))
    api_broker = closing.enter_context(contextlib.closing(Broker(settings, patient=False)))
    api_broker.check_access()
    database = closing.enter_context(contextlib.closing(Database(settings.database_url.get_secret_value())))
    database.migrate(may_change=settings.migrate == "auto")
    broker = closing.enter_context(contextlib.closing(Broker(settings)))
    blobs = BlobStore(settings)
    blobs.ensure_bucket()
    # Clients wait for answers, so the API gives up sooner than the control loops.
    api_database = Database(settings.database_url.get_secret_value(), wait_s=API_S)
    closing.callback(api_database.close)
    shared = Shared.of(settings, api_database)
    registry = new_registry(disk=database.folder)
    metrics = Metrics(registry, methods=tuple(all_methods()))
    loops = make_loops(settings, database, broker, blobs, shared, metrics)
    api_blobs = BlobStore(settings, patient=False)
    service = JobService(
        api_database,
        api_blobs,
        clock=time.time,
        **vars(shared),
        max_attempts=settings.max_attempts,
        wake=loops.wake,
        training_data=settings.training_data,
    )
    if bootstrap_key is not None:
        service.keys.add(bootstrap_key, tenant=FIRST_TENANT, name=BOOTSTRAP)
    service.styles.register_shipped()
    hub = make_hub(service, api_database)
    api = make_api(
        service,
        database=api_database,
        broker=api_broker,
        blobs=api_blobs,
        clock=time.monotonic,
        hub=hub,
        webhook_service=WebhookService(
            api_database, vault=Vault.of(settings), rules=Rules.of(settings), clock=time.time
        ),
        observe=metrics.answered,
    )
    registry.register(_monitor(settings, api_database, api_broker, api_blobs, shared.item_times))
    closing.enter_context(serving(registry, host=settings.metrics_host, port=settings.metrics_port))
    allow_connections()
    config = uvicorn.Config(api, http=TimedProtocol, log_config=None, log_level="warning", timeout_graceful_shutdown=5)
    server = Server(config, hub, heartbeat)
    closing.enter_context(server.taking_signals())
    loops.start(on_end=hub.look)
    heartbeat.watch("the event loop of the API", lambda: server.ticks)
    for name in loops.ticks():
        heartbeat.watch(f"the {name} loop", partial(_ticks_of, loops, name), limit_s=_TICK_S)
    # The loops must end before what they use is closed.
    closing.callback(_stop, loops)
    closing.callback(heartbeat.close)
    server.run(sockets=[listener])


def _monitor(
    settings: SchedulerSettings, database: Database, broker: Broker, blobs: BlobStore, item_times: ItemTimes
) -> Monitor:
    """Return what measures the queues; its parts give up soon."""
    return Monitor(
        database=database,
        broker=broker,
        blobs=blobs,
        item_times=item_times,
        backlog=BacklogReader(item_times, clock=time.time, segment_s=settings.train_segment_s),
        windows={name: method.window(settings) for name, method in all_methods().items()},
    )


def _stop(loops: Loops) -> None:
    """Stop the loops; if one of them takes too long, end the process. What it does is done again after the next start.

    Otherwise the rest would be closed while that loop uses it.
    """
    late = loops.stop(timeout_s=_STOP_S)
    if late:
        log.warning("Loops that were still at work after %g s are ended: %s", _STOP_S, ", ".join(late))
        logging.shutdown()
        os._exit(0)


def _ticks_of(loops: Loops, name: str) -> int:
    return loops.ticks()[name]
