"""The limits of tenants, and what checks them: quotas, rates of requests, and open streams."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nst_core.clock import Clock
from scheduler.domain.errors import (
    JobTooLargeError,
    QueueFullError,
    QuotaExceededError,
    RateLimitedError,
    RequestInvalidError,
    TooManyStreamsError,
)
from scheduler.domain.jobs import Job
from scheduler.store import keys as key_rows
from scheduler.store import tenants as tenant_rows
from scheduler.store import uploads as upload_rows
from scheduler.store.database import Connection

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one tenant. None means unlimited."""

    #: Images that wait for a worker, in all jobs together.
    max_queued_items: float | None = 5_000_000
    max_unfinished_jobs: float | None = 10_000
    max_items_per_job: float | None = 2_000_000
    #: Trainings, including paused ones.
    max_unfinished_runs: float | None = 1000
    #: Of one uploaded file.
    max_upload_bytes: float | None = 200 * MIB
    #: Of the JSON in a request.
    max_body_bytes: float | None = 4 * MIB
    #: For all keys of the tenant together.
    requests_per_s: float | None = 500.0
    #: The most requests at once.
    burst: float | None = 2000
    #: Valid API keys.
    max_keys: float | None = 1000
    #: Uploads.
    max_uploads: float | None = 100_000
    #: Open streams of events.
    max_streams: float | None = 100
    #: Pixels of a result. If it is set, jobs must give a `max_px` that respects it.
    max_result_pixels: float | None = None

    def with_changes(self, changes: Mapping[str, float | None]) -> "Limits":
        """Return these limits with some changed. Unknown names, of a newer version, are ignored."""
        return replace(self, **{name: value for name, value in changes.items() if name in NAMES})


NAMES = tuple(Limits.__dataclass_fields__)


def check_new_job(connection: Connection, tenant: str, items: int, *, limits: Limits) -> None:
    """Raise QuotaExceededError if a tenant may not add a job with this many items (0 if unknown).

    Call it in the transaction that adds the job: it locks the tenant, so concurrent submissions are counted.
    """
    if limits.max_items_per_job is not None and items > limits.max_items_per_job:
        raise JobTooLargeError(f"A job may have up to {limits.max_items_per_job:,.0f} images, not {items:,}.")
    if limits.max_unfinished_jobs is None and limits.max_queued_items is None:
        return
    tenant_rows.lock_tenant(connection, tenant)
    usage = tenant_rows.usage_of(connection, tenant)
    if limits.max_unfinished_jobs is not None and usage.unfinished_jobs >= limits.max_unfinished_jobs:
        raise QuotaExceededError(f"There are {usage.unfinished_jobs:,} unfinished jobs, and no more are allowed.")
    if limits.max_queued_items is not None and usage.queued_items + max(items, 1) > limits.max_queued_items:
        message = f"{usage.queued_items:,} images are waiting; the limit is {limits.max_queued_items:,.0f}."
        raise QuotaExceededError(message)


def check_retried(connection: Connection, tenant: str, later: int, *, limits: Limits) -> None:
    """Raise QuotaExceededError if a retried job is one too many, or makes too many images wait.

    Call it in the transaction that retries the job, after the change; `later` more images are going to wait.
    """
    if limits.max_unfinished_jobs is None and limits.max_queued_items is None:
        return
    tenant_rows.lock_tenant(connection, tenant)
    usage = tenant_rows.usage_of(connection, tenant)
    if limits.max_unfinished_jobs is not None and usage.unfinished_jobs > limits.max_unfinished_jobs:
        raise QuotaExceededError(f"{limits.max_unfinished_jobs:,.0f} unfinished jobs are allowed, and no more.")
    queued = usage.queued_items + later
    if limits.max_queued_items is not None and queued > limits.max_queued_items:
        message = f"{queued:,} images would wait; the limit is {limits.max_queued_items:,.0f}."
        raise QuotaExceededError(message)


def check_planned(connection: Connection, job: Job, items: int, *, limits: Limits) -> None:
    """Raise QuotaExceededError if this many more items make a job too large.

    Raises QueueFullError if too many images of the tenant would wait. They are planned later, when workers have
    finished some. If no image waits, any number of items is accepted: otherwise a page larger than the limit would
    never be planned.
    """
    total = job.counts.total + items
    if limits.max_items_per_job is not None and total > limits.max_items_per_job:
        raise JobTooLargeError(f"A job may have up to {limits.max_items_per_job:,.0f} images.")
    if limits.max_queued_items is not None and items:
        queued = tenant_rows.usage_of(connection, job.tenant).queued_items
        if queued and queued + items > limits.max_queued_items:
            raise QueueFullError(f"{queued:,} images of {job.tenant} are waiting; the rest is planned later.")


def check_pixels(longest_side_px: int | None, *, upscale: int, pointer: str, limits: Limits) -> None:
    """Raise RequestInvalidError if results could have too many pixels; None means sides of any length.

    The length is that before results are enlarged by `upscale`.
    """
    if limits.max_result_pixels is None:
        return
    if longest_side_px is None or (longest_side_px * upscale) ** 2 > limits.max_result_pixels:
        most = int(limits.max_result_pixels**0.5)
        enlarged = "" if upscale == 1 else f", so up to {most // upscale:,} px before they are enlarged"
        raise RequestInvalidError(
            f"Results may have sides of up to {most:,} px{enlarged}: set a limit.", pointer=pointer
        )


def check_new_key(connection: Connection, tenant: str, *, limits: Limits, now: float) -> None:
    """Raise QuotaExceededError if a tenant may not add an API key. Revoked and expired keys do not count."""
    if limits.max_keys is None:
        return
    tenant_rows.lock_tenant(connection, tenant)
    if key_rows.count_keys(connection, tenant, now=now) >= limits.max_keys:
        message = f"There are {limits.max_keys:,.0f} valid API keys, and no more are allowed: revoke one first."
        raise QuotaExceededError(message)


def check_new_upload(connection: Connection, tenant: str, *, limits: Limits) -> None:
    """Raise QuotaExceededError if a tenant may not add an upload."""
    if limits.max_uploads is None:
        return
    tenant_rows.lock_tenant(connection, tenant)
    if upload_rows.count_uploads(connection, tenant) >= limits.max_uploads:
        raise QuotaExceededError(f"There are {limits.max_uploads:,.0f} uploads, and no more are allowed: delete some.")


def check_new_run(connection: Connection, tenant: str, *, limits: Limits) -> None:
    """Raise QuotaExceededError if a tenant may not add a training, or continue one that has ended.

    Call it in the transaction that does so: it locks the tenant, so that others are counted.
    """
    if limits.max_unfinished_runs is None:
        return
    tenant_rows.lock_tenant(connection, tenant)
    found = tenant_rows.count_open_runs(connection, tenant)
    if found >= limits.max_unfinished_runs:
        raise QuotaExceededError(f"There are {found:,} unfinished trainings, and no more are allowed.")


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What is left of a rate limit after a request."""

    limit: int
    remaining: int
    #: Seconds until the whole burst is available again.
    reset_s: float


class RateLimiter:
    """Token buckets by name, in this process. Safe to share between threads."""

    #: If there are more, the least recently used bucket is dropped.
    MAX_BUCKETS = 10_000

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        #: Tokens left, and when they were counted.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str, *, per_s: float, burst: float) -> Allowance:
        """Take a token for a request; raise RateLimitedError if none is left."""
        burst = max(burst, 1.0)
        now = self._clock()
        with self._lock:
            left, then = self._buckets.pop(name, (burst, now))
            left = min(burst, left + max(0.0, now - then) * per_s)
            passes = left >= 1.0
            self._buckets[name] = (left - 1.0 if passes else left, now)
            if len(self._buckets) > self.MAX_BUCKETS:
                self._buckets.popitem(last=False)
        if not passes:
            message = f"There were more than {per_s:g} requests a second; try again a little later."
            raise RateLimitedError(message, retry_after_s=(1.0 - left) / per_s)
        return Allowance(limit=int(burst), remaining=int(left - 1.0), reset_s=(burst - left + 1.0) / per_s)


class Streams:
    """How many streams each tenant has open in this process. Safe to share between threads."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def acquire(self, tenant: str, *, limit: float | None) -> None:
        """Count an open stream; raise TooManyStreamsError if that is one too many."""
        with self._lock:
            if limit is not None and self._open[tenant] >= limit:
                raise TooManyStreamsError(f"There are {limit:,.0f} open streams, and no more are allowed.")
            self._open[tenant] += 1

    def release(self, tenant: str) -> None:
        """Count a closed stream; call it once for each acquired stream."""
        with self._lock:
            self._open[tenant] -= 1
            if self._open[tenant] <= 0:
                del self._open[tenant]


def limits_of(settings: Any) -> Limits:
    """Return the default limits from settings, which have a field for each of them."""
    return Limits(**{name: getattr(settings, name) for name in NAMES})
