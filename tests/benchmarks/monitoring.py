"""What metrics and traces cost: a measurement, and an answer to Prometheus while many jobs wait.

python -m tests.benchmarks.monitoring --jobs 3000
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from prometheus_client import CollectorRegistry

from nst_core.client.resources.items import ItemStatus
from nst_core.metrics import Stage
from nst_core.system import traces
from scheduler.control.metrics import Metrics
from scheduler.jobs.backlog import BacklogReader
from scheduler.jobs.item_times import ItemTimes
from scheduler.store.database import Database
from tests.collector import collecting
from tests.unit.scheduler.kit import add_job
from worker.runtime.metrics import WorkerMetrics

CALLS = 200_000


def main() -> None:
    """Print how long each takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3000, help="Jobs that wait, with two images each.")
    jobs = parser.parse_args().jobs
    worker, scheduler = WorkerMetrics(), Metrics(CollectorRegistry(), methods=["feedforward"])
    print(f"a stage: {each_us(lambda: worker.observe(Stage.PUT, 0.01)):.1f} us")
    changes = {ItemStatus.SUCCEEDED: 3, ItemStatus.RUNNING: -3}
    print(f"a report: {each_us(lambda: scheduler.ended('feedforward', changes, pixels=100)):.1f} us")
    print(f"a request: {each_us(lambda: scheduler.answered('/v1/jobs', 'GET', 200, 0.01)):.1f} us")
    with collecting() as collector, mock.patch.dict(os.environ, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url):
        os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = str(CALLS)
        began = time.perf_counter()
        with (
            mock.patch("nst_core.system.otlp._CLOSE_S", 600.0),
            traces.sending("nst-worker", instance="w"),
            traces.span("item"),
        ):
            alone_us = each_us(lambda: traces.observe(Stage.PUT, 0.01))
        both_us = (time.perf_counter() - began) / CALLS * 1e6
        print(f"a stage in a trace: {alone_us:.1f} us; {both_us:.1f} us until all were sent")
    with TemporaryDirectory() as folder:
        read_backlog(Path(folder), jobs)


def each_us(call: Callable[[], object]) -> float:
    """Return the mean time of a call in microseconds."""
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - began) / CALLS * 1e6


def read_backlog(folder: Path, jobs: int) -> None:
    """Print how long the backlog of some jobs takes to read, the first time and later ones."""
    database = Database(f"sqlite:///{folder / 'nst.db'}")
    database.migrate()
    for number in range(jobs):
        add_job(database, f"job_{number:06d}", items=2)
    reader = BacklogReader(ItemTimes(clock=time.time), clock=time.time, segment_s=60.0)
    for _ in range(4):
        began = time.perf_counter()
        with database.read() as connection:
            queued = reader.read(connection).queues["feedforward"].queued
        print(f"the backlog of {jobs} jobs, {queued} images: {(time.perf_counter() - began) * 1e3:.0f} ms")
    database.close()


if __name__ == "__main__":
    main()
