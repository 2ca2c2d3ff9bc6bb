"""What a scheduler measures when Prometheus asks: the queues, the workers, Redis, the database and the storage.

All schedulers of an installation read the same values, so take the maximum over them, not the sum.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nst_core.clock import Clock
from nst_core.errors import NstError
from nst_core.storage.blobs import BlobStore
from scheduler.control.broker import Broker
from scheduler.jobs.backlog import Backlog, BacklogReader
from scheduler.jobs.item_times import ItemTimes
from scheduler.jobs.methods import all_methods
from scheduler.jobs.methods.base import Window
from scheduler.store import backlog as rows
from scheduler.store.chunks import ACTIVE
from scheduler.store.database import Connection, Database


class Monitor(Collector):
    """Reads the state of an installation. Metrics of what does not answer are left out."""

    def __init__(
        self,
        *,
        database: Database,
        broker: Broker,
        blobs: BlobStore,
        item_times: ItemTimes,
        backlog: BacklogReader,
        windows: Mapping[str, Window],
        timer: Clock = time.perf_counter,
    ) -> None:
        """All of these should give up soon, because Prometheus waits 10 seconds at most."""
        self._database = database
        self._broker = broker
        self._item_times = item_times
        self._backlog = backlog
        self._windows = windows
        self._timer = timer
        self._pings: dict[str, Callable[[], object]] = {
            "database": database.ping,
            "redis": broker.ping,
            "storage": blobs.ping,
        }
        self._lock = threading.Lock()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics."""
        with self._lock:  # several servers of Prometheus may ask at the same time
            yield from self._metrics()

    def _metrics(self) -> Iterator[GaugeMetricFamily]:
        with ThreadPoolExecutor(len(self._pings)) as pool:
            seconds = dict(zip(self._pings, pool.map(self._measure, self._pings.values()), strict=True))
        up = _gauge("nst_dependency_up", "Whether what the scheduler needs answers", "dependency")
        latency = _gauge("nst_dependency_ping_seconds", "How soon it answers", "dependency")
        for name, answered_s in seconds.items():
            up.add_metric([name], answered_s is not None)
            if answered_s is not None:
                latency.add_metric([name], answered_s)
        yield from (up, latency)
        if seconds["database"] is not None:
            yield from self._of_database()
        if seconds["redis"] is not None:
            yield from self._of_redis()

    def _measure(self, ping: Callable[[], object]) -> float | None:
        """Return how long an answer took; None if none came."""
        began = self._timer()
        try:
            ping()
        except NstError:
            return None
        return self._timer() - began

    def _of_database(self) -> Iterator[GaugeMetricFamily]:
        try:
            with self._database.read() as connection:
                yield from _of_backlog(self._backlog.read(connection))
                yield from self._of_workers(connection)
        except NstError:
            return  # it stopped to answer since the ping

    def _of_workers(self, connection: Connection) -> Iterator[GaugeMetricFamily]:
        workers = self._item_times.workers(connection)
        yield GaugeMetricFamily("nst_workers", "Workers that reported on images in the last minute", workers)
        active = rows.active_chunks(connection)
        chunks = _gauge("nst_chunks", "Chunks that were sent and have not ended", "method", "status")
        window = _gauge("nst_window_chunks", "The most chunks that wait in Redis", "method")
        for method, limits in self._windows.items():
            for status in ACTIVE:
                chunks.add_metric([method, status], active[method, status])
            window.add_metric([method], limits.chunks)
        yield from (chunks, window)

    def _of_redis(self) -> Iterator[GaugeMetricFamily]:
        try:
            waiting, lag_s = self._broker.unread_events()
        except NstError:
            return
        yield GaugeMetricFamily("nst_events", "Reports of workers that are not in the database yet", waiting)
        yield GaugeMetricFamily("nst_events_lag_seconds", "Age of the oldest of these reports", lag_s)


def _of_backlog(backlog: Backlog) -> Iterator[GaugeMetricFamily]:
    items = _gauge("nst_queue_items", "Images, or trainings, that have not ended", "method", "state")
    work = _gauge("nst_work_seconds", "Time that one worker needs for what is queued and running", "method")
    oldest = _gauge("nst_queue_oldest_seconds", "Age of the oldest job that has not begun", "method")
    for method, queue in backlog.queues.items():
        for state in ("queued", "running", "paused"):
            items.add_metric([method, state], getattr(queue, state))
        work.add_metric([method], queue.work_s)
        oldest.add_metric([method], queue.oldest_s)
    jobs = _gauge("nst_jobs", "Jobs that have not ended", "method", "status")
    for method, status in product(all_methods(), rows.UNFINISHED):
        jobs.add_metric([method, status], backlog.jobs[method, status])
    yield from (items, work, oldest, jobs)


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, labels=labels)
