"""What metrics cost: a measurement, and an answer to Prometheus while many jobs wait.

python -m tests.benchmarks.monitoring --jobs 3000
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry

from nst_core.client.resources.items import ItemStatus
from nst_core.metrics import Stage
from scheduler.control.metrics import Metrics
from scheduler.jobs.backlog import BacklogReader
from scheduler.jobs.item_times import ItemTimes
from scheduler.store.database import Database
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
