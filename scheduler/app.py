"""One scheduler process: the API and the control loops, put together from the settings."""

import logging
import time

import uvicorn

from nst_core.blobs import BlobStore
from nst_core.broker import Broker
from nst_core.protocol import Method
from scheduler.api.app import make_api
from scheduler.collector import Collector
from scheduler.dispatch import Dispatcher, Window
from scheduler.finalize import Finalizer
from scheduler.loops import Loops
from scheduler.plan import Planner
from scheduler.reaper import Reaper
from scheduler.run_collector import RunCollector
from scheduler.run_control import RunControl, RunLimits
from scheduler.run_ends import Retries
from scheduler.run_finish import RunFinisher
from scheduler.run_tidy import RunTidier
from scheduler.service import Service
from scheduler.settings import SchedulerSettings
from scheduler.store.database import Database

log = logging.getLogger(__name__)

BOOTSTRAP_TENANT = "default"


def make_loops(settings: SchedulerSettings, database: Database, broker: Broker, blobs: BlobStore) -> Loops:
    """Return the control loops, not started."""
    clock = time.time
    retries = Retries(max_failures=settings.max_run_failures, backoff_s=settings.retry_backoff_s)
    return Loops(
        planner=Planner(
            database,
            blobs,
            clock=clock,
            chunk_size=settings.chunk_size,
            page=settings.plan_page,
            buckets=allowed_buckets(settings),
        ),
        dispatcher=Dispatcher(
            database,
            broker,
            clock=clock,
            bucket=settings.s3_bucket,
            max_attempts=settings.max_attempts,
            windows={
                Method.FEEDFORWARD: Window(chunks=settings.dispatch_window, lease_s=settings.dispatch_lease_s),
                Method.OPTIMIZE: Window(chunks=settings.optimize_window, lease_s=settings.optimize_dispatch_lease_s),
            },
        ),
        collector=Collector(
            database,
            broker,
            runs=RunCollector(database, clock=clock, lease_s=settings.lease_s, retries=retries),
            clock=clock,
            lease_s=settings.lease_s,
            max_attempts=settings.max_attempts,
            backoff_s=settings.retry_backoff_s,
        ),
        reaper=Reaper(
            database,
            broker,
            clock=clock,
            lost_after_s=settings.lost_after_s,
            max_attempts=settings.max_attempts,
        ),
        finalizer=Finalizer(database, blobs, clock=clock),
        run_control=RunControl(
            database,
            broker,
            clock=clock,
            bucket=settings.s3_bucket,
            limits=RunLimits(
                max_concurrent=settings.max_concurrent_runs,
                dispatch_lease_s=settings.train_dispatch_lease_s,
                lost_after_s=settings.lost_after_s,
                segment_s=settings.train_segment_s,
                retries=retries,
            ),
        ),
        run_finisher=RunFinisher(database, blobs, clock=clock),
        run_tidier=RunTidier(database, blobs, clock=clock),
    )


def allowed_buckets(settings: SchedulerSettings) -> frozenset[str]:
    """Return the buckets that jobs may use."""
    return frozenset({settings.s3_bucket, *settings.extra_buckets})


def run_scheduler(settings: SchedulerSettings) -> None:
    """Run the API and the control loops until the process is told to stop."""
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # boto3, alembic and httpx tell each of their steps at INFO.
    for chatty in ("botocore", "alembic", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    database = Database(settings.database_url.get_secret_value())
    database.migrate()
    broker = Broker(settings)
    blobs = BlobStore(settings)
    blobs.ensure_bucket()
    loops = make_loops(settings, database, broker, blobs)
    service = Service(
        database,
        blobs,
        clock=time.time,
        buckets=allowed_buckets(settings),
        wake=loops.wake,
        training_data=settings.training_data,
    )
    if settings.bootstrap_api_key is not None:
        service.add_key(settings.bootstrap_api_key.get_secret_value(), tenant=BOOTSTRAP_TENANT)
    service.styles.register_shipped()
    api = make_api(service, database=database, broker=broker, blobs=blobs, max_upload_bytes=settings.max_upload_bytes)
    loops.start()
    try:
        uvicorn.run(api, host=settings.host, port=settings.port, log_level="warning", timeout_graceful_shutdown=5)
    finally:
        loops.stop()
        broker.close()
        database.close()
