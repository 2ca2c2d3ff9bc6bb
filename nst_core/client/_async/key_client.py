"""The parts of the client that manage keys and tenants: `keys` and `tenants`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

from nst_core.client._async.transport import AsyncTransport
from nst_core.client.requests import PAGE, body_of, path_of, query_of
from nst_core.client.resources.access import (
    Key,
    KeyPage,
    KeyRequest,
    LimitsRequest,
    NewKey,
    OwnTenant,
    RotateRequest,
    Tenant,
    TenantPage,
    TenantRequest,
)


class AsyncKeyClient:
    """Calls the API about its keys.

    What makes secrets is not tried again where an answer is lost: nobody would know the first one.
    """

    def __init__(self, api: AsyncTransport) -> None:
        self._api = api

    async def create(
        self, name: str, scopes: Sequence[str], *, tenant: str | None = None, expires_at: datetime | None = None
    ) -> NewKey:
        """Make a key, of the own tenant if none is named; `expires_at` has a time zone."""
        request = KeyRequest(name=name, scopes=scopes, tenant=tenant, expires_at=expires_at)
        return await self._api.read(NewKey, "POST", path_of("keys"), json=body_of(request), once=True)

    def all(self, *, tenant: str | None = None, page: int = PAGE) -> AsyncIterator[Key]:
        """Yield the keys of a tenant, the newest first; those that are not valid any more too."""
        return self._api.pages(KeyPage, path_of("keys"), query_of(limit=page, tenant=tenant))

    async def get(self, key_id: str) -> Key:
        """Return a key."""
        return await self._api.read(Key, "GET", path_of("keys", key_id))

    async def revoke(self, key_id: str) -> None:
        """Make a key invalid, within 5 seconds everywhere and for ever."""
        await self._api.call("DELETE", path_of("keys", key_id))

    async def rotate(self, key_id: str, *, overlap_s: int | None = None) -> NewKey:
        """Give a key another secret; the present one is good for `overlap_s` more, an hour if not given."""
        request = RotateRequest() if overlap_s is None else RotateRequest(overlap_s=overlap_s)
        path = path_of("keys", key_id, "rotate")
        return await self._api.read(NewKey, "POST", path, json=body_of(request), once=True)


class AsyncTenantClient:
    """Calls the API about tenants."""

    def __init__(self, api: AsyncTransport) -> None:
        self._api = api

    async def own(self) -> OwnTenant:
        """Return the tenant of the key in use, its limits and usage, and the key."""
        return await self._api.read(OwnTenant, "GET", path_of("tenant"))

    def all(self, *, page: int = PAGE) -> AsyncIterator[Tenant]:
        """Yield all tenants by name; needs the scope admin."""
        return self._api.pages(TenantPage, path_of("tenants"), query_of(limit=page))

    async def get(self, tenant: str) -> Tenant:
        """Return a tenant; needs the scope admin."""
        return await self._api.read(Tenant, "GET", path_of("tenants", tenant))

    async def put(
        self,
        tenant: str,
        *,
        weight: float = 1.0,
        read: Sequence[str] | None = None,
        write: Sequence[str] | None = None,
        limits: Mapping[str, float | None] | None = None,
    ) -> Tenant:
        """Set all of a tenant, with its defaults for what is not given; needs the scope admin."""
        request = TenantRequest(weight=weight, read=read, write=write, limits=LimitsRequest(**(limits or {})))
        return await self._api.read(Tenant, "PUT", path_of("tenants", tenant), json=body_of(request))
