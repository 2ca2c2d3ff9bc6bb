"""What Prometheus reads from any process of nst: the port of its metrics, and metrics of the process and its disk."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nst_core.errors import ConfigError


class DiskSpace(Collector):
    """The size of the disk that a folder is on, and what is free of it; nothing while the folder does not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics."""
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            return
        yield GaugeMetricFamily("nst_disk_bytes", "Size of the disk of this process", usage.total)
        yield GaugeMetricFamily("nst_disk_free_bytes", "Free space on the disk of this process", usage.free)


def new_registry(*, disk: Path | None = None) -> CollectorRegistry:
    """Return a registry with the metrics of this process and, if a folder is given, of the disk that it is on."""
    # Prometheus would store a second series for each counter, with the time of its creation.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    if disk is not None:
        registry.register(DiskSpace(disk))
    return registry


@contextmanager
def serving(registry: CollectorRegistry, *, host: str, port: int | None) -> Iterator[None]:
    """Serve the metrics of a registry over HTTP during the block; do nothing if `port` is None.

    Anyone who can reach the port may read them. Raises ConfigError if the address or the port cannot be used.
    """
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        reason = "another process listens there" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        message = f"metrics cannot be served at NST_METRICS_HOST {host}, NST_METRICS_PORT {port}: {reason}."
        raise ConfigError(message) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
