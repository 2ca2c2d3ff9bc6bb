"""Tenants: where their jobs may read and write, their limits, and their share of the workers."""

from collections.abc import Mapping

from nst_core.clock import Clock
from nst_core.storage.blobs import BlobUri
from scheduler.access.cache import TimedCache
from scheduler.access.limits import Limits
from scheduler.access.places import Permissions, checked_prefixes
from scheduler.domain import jobs as domain
from scheduler.domain.errors import NotFoundError, QuotaExceededError
from scheduler.store import tenants as rows
from scheduler.store.database import Database, retried
from scheduler.store.tenants import Tenant, Usage

#: Changes of a tenant take effect in all processes after this time.
CACHE_S = 5.0
#: Tenants with settings. This stops scripts that make a tenant forevery end user.
MAX_TENANTS = 100_000


class Tenants:
    """The settings of tenants. Safe to share between threads."""

    def __init__(
        self, database: Database, *, clock: Clock, bucket: str, buckets: frozenset[str], defaults: Limits | None = None
    ) -> None:
        """`bucket` is the one that tenants share, `buckets` are all that there are; `defaults` are those of `Limits`.

        What it returns may be up to 5 s old.
        """
        self._database = database
        self._clock = clock
        self._bucket = bucket
        self._buckets = buckets
        self.defaults = defaults or Limits()
        self._found: TimedCache[str, Tenant] = TimedCache(ttl_s=CACHE_S, clock=clock)
        self._weights: TimedCache[str, dict[str, float]] = TimedCache(ttl_s=CACHE_S, clock=clock)

    def limits(self, tenant: str) -> Limits:
        """Return a tenant's limits."""
        return self.defaults.with_changes(self._get(tenant).limits)

    def permissions(self, tenant: str) -> Permissions:
        """Return where a tenant's jobs may read and write."""
        found = self._get(tenant)
        return Permissions(
            tenant=tenant,
            shared=self._bucket,
            buckets=self._buckets if tenant == domain.FIRST_TENANT else frozenset(),
            read=_parsed(found.read),
            write=_parsed(found.write),
        )

    def weights(self) -> Mapping[str, float]:
        """Return the weights of the tenants whose weight is not 1."""
        return self._weights.get("", self._read_weights)

    def find(self, tenant: str) -> Tenant:
        """Return the settings of a tenant; raise NotFoundError if it has neither a key nor settings."""
        with self._database.read() as connection:
            if not rows.is_known(connection, tenant):
                raise NotFoundError(f"There is no tenant {tenant}.")
            return rows.find_tenant(connection, tenant) or Tenant(id=tenant)

    def all(self, *, limit: int, after: str = "") -> list[Tenant]:
        """Return up to `limit` tenants in order of their ids, after one of them: those with a key or settings."""
        with self._database.read() as connection:
            ids = rows.list_ids(connection, limit=limit, after=after)
            return [rows.find_tenant(connection, id) or Tenant(id=id) for id in ids]

    def usage(self, tenant: str) -> Usage:
        """Return what a tenant uses now."""
        with self._database.read() as connection:
            return rows.usage_of(connection, tenant)

    def put(self, tenant: Tenant) -> Tenant:
        """Set the settings of a tenant and return them as they are stored.

        Raises RequestInvalidError for an invalid place, and QuotaExceededError if there are too many tenants.
        """
        kept = Tenant(
            **{
                **vars(tenant),
                "read": checked_prefixes(tenant.read, pointer="/read"),
                "write": checked_prefixes(tenant.write, pointer="/write"),
            }
        )

        def put() -> None:
            with self._database.write() as connection:
                if rows.find_tenant(connection, tenant.id) is None and rows.count_tenants(connection) >= MAX_TENANTS:
                    raise QuotaExceededError(f"There are {MAX_TENANTS:,} tenants, and no more are allowed.")
                rows.put_tenant(connection, kept, now=self._clock())

        # Two requests at once may both find no row.
        retried(put)
        self._found.drop(tenant.id)
        self._weights.drop("")
        return kept

    def _get(self, tenant: str) -> Tenant:
        return self._found.get(tenant, lambda: self._read(tenant))

    def _read(self, tenant: str) -> Tenant:
        with self._database.read() as connection:
            return rows.find_tenant(connection, tenant) or Tenant(id=tenant)

    def _read_weights(self) -> dict[str, float]:
        with self._database.read() as connection:
            return rows.list_weights(connection)


def _parsed(places: tuple[str, ...] | None) -> tuple[BlobUri, ...] | None:
    return None if places is None else tuple(BlobUri.parse(place) for place in places)
