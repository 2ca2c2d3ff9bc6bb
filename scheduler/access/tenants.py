"""Tenants: where their jobs may read and write, what they may have at most, and their part of the workers."""

from collections.abc import Mapping
from dataclasses import dataclass

from nst_core.clock import Clock
from nst_core.errors import ConfigError
from nst_core.storage.blobs import BlobUri
from scheduler.access.cache import TimedCache
from scheduler.access.limits import Limits
from scheduler.domain import jobs as domain
from scheduler.domain.errors import NotFoundError, QuotaExceededError, RequestInvalidError
from scheduler.store import tenants as rows
from scheduler.store.database import Database, retried
from scheduler.store.tenants import Tenant, Usage

#: What was set for a tenant counts everywhere after so long.
CACHE_S = 5.0
#: For which something is set. Scripts that make a tenant for each of their customers' customers end here.
MAX_TENANTS = 100_000


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the jobs of one tenant may read and write.

    In the bucket that tenants share, what is below `tenants/` belongs to one tenant each, whatever the lists say: the
    own part is open to it, and that of others to nobody else.
    """

    tenant: str
    #: The bucket that tenants share.
    shared: str
    #: The places where there is no list: all buckets of the installation for its first tenant, none for others.
    buckets: frozenset[str]
    read: tuple[BlobUri, ...] | None = None
    write: tuple[BlobUri, ...] | None = None

    def may_read(self, uri: BlobUri, *, is_prefix: bool = False) -> bool:
        """Return whether an object, or all below a prefix, may be read."""
        if uri.bucket == self.shared and not domain.may_use(uri.key, self.tenant, is_prefix=is_prefix):
            return False
        return self._is_in(self.read, uri)

    def may_write(self, uri: BlobUri) -> bool:
        """Return whether results may be written to a key, or below a prefix.

        In the shared bucket that is no style, and nothing in the own places of jobs and runs.
        """
        if uri.bucket == self.shared and (
            not domain.may_use(uri.key, self.tenant) or uri.key.startswith("styles/") or domain.is_scratch(uri.key)
        ):
            return False
        return self._is_in(self.write, uri)

    def _is_in(self, places: tuple[BlobUri, ...] | None, uri: BlobUri) -> bool:
        if uri.bucket == self.shared and uri.key.startswith(f"tenants/{self.tenant}/"):
            return True
        if places is None:
            return uri.bucket in self.buckets
        return any(uri.bucket == place.bucket and uri.key.startswith(place.key) for place in places)


class Tenants:
    """What was set for the tenants, as all parts of a scheduler see it. Safe to share between threads."""

    def __init__(
        self, database: Database, *, clock: Clock, bucket: str, buckets: frozenset[str], defaults: Limits | None = None
    ) -> None:
        """`bucket` is the one that tenants share, `buckets` are all that there are; `defaults` are those of `Limits`.

        What is read is up to 5 s old.
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

    def places(self, tenant: str) -> Places:
        """Return where a tenant's jobs may read and write."""
        found = self._get(tenant)
        return Places(
            tenant=tenant,
            shared=self._bucket,
            buckets=self._buckets if tenant == domain.FIRST_TENANT else frozenset(),
            read=_parsed(found.read),
            write=_parsed(found.write),
        )

    def weights(self) -> Mapping[str, float]:
        """Return the weights of the tenants that have one other than 1."""
        return self._weights.get("", self._read_weights)

    def find(self, tenant: str) -> Tenant:
        """Return what is set for a tenant; raise NotFoundError where it has no key and nothing was ever set."""
        with self._database.read() as connection:
            if not rows.is_known(connection, tenant):
                raise NotFoundError(f"There is no tenant {tenant}.")
            return rows.find_tenant(connection, tenant) or Tenant(id=tenant)

    def all(self, *, limit: int, after: str = "") -> list[Tenant]:
        """Return the first tenants, at most `limit`, behind one of them, by id: all that have a key or are set."""
        with self._database.read() as connection:
            ids = rows.list_ids(connection, limit=limit, after=after)
            return [rows.find_tenant(connection, id) or Tenant(id=id) for id in ids]

    def usage(self, tenant: str) -> Usage:
        """Return what a tenant uses now."""
        with self._database.read() as connection:
            return rows.usage_of(connection, tenant)

    def put(self, tenant: Tenant) -> Tenant:
        """Set all of a tenant and return it as it is kept.

        Raises RequestInvalidError for a place that is none, and QuotaExceededError if there are too many tenants.
        """
        kept = Tenant(
            **{
                **vars(tenant),
                "read": _checked(tenant.read, pointer="/read"),
                "write": _checked(tenant.write, pointer="/write"),
            }
        )

        def put() -> None:
            with self._database.write() as connection:
                if rows.find_tenant(connection, tenant.id) is None and rows.count_tenants(connection) >= MAX_TENANTS:
                    raise QuotaExceededError(f"There are {MAX_TENANTS:,} tenants, and no more are allowed.")
                rows.put_tenant(connection, kept, now=self._clock())

        # Of two at once, both may find no row.
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


def _checked(places: tuple[str, ...] | None, *, pointer: str) -> tuple[str, ...] | None:
    """Return places as they are kept: whole folders, for `s3://b/photos` would also mean `s3://b/photos-of-others/`."""
    if places is None:
        return None
    kept = []
    for number, text in enumerate(places):
        try:
            if not domain.storable(text):
                raise ConfigError("The address has characters that cannot be stored.")
            uri = BlobUri.parse(text)
            domain.check_address(uri.bucket, uri.key, is_prefix=True)
            if uri.key:
                domain.check_key(uri.key.removesuffix("/"))
        except ConfigError as error:
            raise RequestInvalidError(error.message, pointer=f"{pointer}/{number}") from error
        kept.append(str(uri) if not uri.key or uri.key.endswith("/") else f"{uri}/")
    return tuple(kept)


def _parsed(places: tuple[str, ...] | None) -> tuple[BlobUri, ...] | None:
    return None if places is None else tuple(BlobUri.parse(place) for place in places)
