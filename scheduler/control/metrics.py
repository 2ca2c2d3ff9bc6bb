"""What a scheduler counts for Prometheus; deploy/monitoring/README.md has a table of all metrics.

No label may have a value that clients choose, such as a tenant, a job or a file: Prometheus stores a series for each.
"""

from collections.abc import Collection, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, Summary

from nst_core import __version__
from nst_core.client.resources.items import ItemStatus
from nst_core.metrics import TickOutcome
from scheduler.control.lost_messages import Loss

#: The value of the label `method` for trainings.
TRAIN = "train"
_REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_ENDED = (ItemStatus.SUCCEEDED, ItemStatus.FAILED)


class Metrics:
    """The counters of one scheduler process. Safe to share between threads."""

    def __init__(self, registry: CollectorRegistry | None = None, *, methods: Collection[str] = ()) -> None:
        """Add the counters to a registry. Those of the `methods` and of trainings are there from the start, with 0."""
        registry = registry or CollectorRegistry()
        Info("nst_scheduler", "The version of nst", registry=registry).info({"version": __version__})
        self._items = Counter("nst_items", "Images that ended", ["method", "outcome"], registry=registry)
        self._pixels = Counter("nst_pixels", "Pixels of results", ["method"], registry=registry)
        self._attempts = Counter("nst_attempts", "Chunks and segments sent to workers", ["method"], registry=registry)
        self._losses = Counter(
            "nst_leases_lost", "Chunks and segments taken back", ["method", "reason"], registry=registry
        )
        self._tries = Counter("nst_webhook_tries", "Messages sent to webhooks", ["outcome"], registry=registry)
        self._ticks = Summary(
            "nst_loop_tick_seconds", "Time of a tick of a control loop", ["loop", "outcome"], registry=registry
        )
        self._requests = Histogram(
            "nst_http_request_seconds",
            "Time from a request of the API to the start of its response",
            ["route", "method", "status"],
            buckets=_REQUEST_BUCKETS_S,
            registry=registry,
        )
        # A counter that begins with 1 looks to Prometheus as if nothing had happened.
        for method in methods:
            self._pixels.labels(method)
            for status in _ENDED:
                self._items.labels(method, status)
        for method in (*methods, TRAIN):
            self._attempts.labels(method)
            for loss in Loss:
                self._losses.labels(method, loss.label)
        for succeeded in (True, False):
            self._tries.labels(_outcome(succeeded))

    def ended(self, method: str, changes: Mapping[ItemStatus, int], *, pixels: int = 0) -> None:
        """Count images that succeeded or failed, by the changes of the counts of their job."""
        for status in _ENDED:
            if (count := changes.get(status, 0)) > 0:
                self._items.labels(method, status).inc(count)
        if pixels:
            self._pixels.labels(method).inc(pixels)

    def sent(self, method: str) -> None:
        """Count a chunk or a segment that was sent to the workers."""
        self._attempts.labels(method).inc()

    def lost(self, method: str, loss: Loss) -> None:
        """Count a chunk or a segment that was taken back."""
        self._losses.labels(method, loss.label).inc()

    def tried(self, *, succeeded: bool) -> None:
        """Count a try to deliver a message to a webhook."""
        self._tries.labels(_outcome(succeeded)).inc()

    def ticked(self, loop: str, seconds: float, outcome: TickOutcome) -> None:
        """Count a tick of a control loop."""
        self._ticks.labels(loop, outcome).observe(seconds)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request of the API whose response has started; `route` is the template of its path."""
        self._requests.labels(route, method, status).observe(seconds)


def _outcome(succeeded: bool) -> str:
    return "succeeded" if succeeded else "failed"
