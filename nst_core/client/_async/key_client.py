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

    Calls that create secrets are not retried: if an answer is lost, its secret is lost too.
    """

    def __init__(self, api: AsyncTransport) -> None:
        self._api = api

    async def create(
        self, name: str, scopes: Sequence[str], *, tenant: str | None = None, expires_at: datetime | None = None
    ) -> NewKey:
        """Create a key, for your own tenant by default; `expires_at` needs a time zone."""
        request = KeyRequest(name=name, scopes=scopes, tenant=tenant, expires_at=expires_at)
        return await self._api.read(NewKey, "POST", path_of("keys"), json=body_of(request), once=True)

    def all(self, *, tenant: str | None = None, page: int = PAGE) -> AsyncIterator[Key]:
        """Yield the keys of a tenant, newest first, including those that are no longer valid."""
        return self._api.pages(KeyPage, path_of("keys"), query_of(limit=page, tenant=tenant))

    async def get(self, key_id: str) -> Key:
        """Return a key."""
        return await self._api.read(Key, "GET", path_of("keys", key_id))

    async def revoke(self, key_id: str) -> None:
        """Revoke a key permanently; it stops working everywhere within 5 seconds."""
        await self._api.call("DELETE", path_of("keys", key_id))

    async def rotate(self, key_id: str, *, overlap_s: int | None = None) -> NewKey:
        """Replace the secret of a key; the present one stays valid for `overlap_s` seconds, an hour by default."""
        request = RotateRequest() if overlap_s is None else RotateRequest(overlap_s=overlap_s)
        path = path_of("keys", key_id, "rotate")
        return await self._api.read(NewKey, "POST", path, json=body_of(request), once=True)


class AsyncTenantClient:
    """Calls the API about tenants."""

    def __init__(self, api: AsyncTransport) -> None:
        self._api = api

    async def own(self) -> OwnTenant:
        """Return your key, and your tenant with its limits and usage."""
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
        """Set all settings of a tenant, with defaults for what is not given; needs the scope admin."""
        request = TenantRequest(weight=weight, read=read, write=write, limits=LimitsRequest(**(limits or {})))
        return await self._api.read(Tenant, "PUT", path_of("tenants", tenant), json=body_of(request))
