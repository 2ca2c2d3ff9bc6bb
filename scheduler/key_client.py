"""The parts of the client that manage keys and tenants: `Client.keys` and `Client.tenants`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scheduler.key_resources import Key, NewKey, OwnTenant, Tenant
from scheduler.transport import Transport, quoted

_PAGE = 200


class KeyClient:
    """Calls the API about its keys. Safe to share between threads.

    What makes secrets is not tried again where an answer is lost: nobody would know the first one.
    """

    def __init__(self, api: Transport) -> None:
        self._api = api

    def create(
        self, name: str, scopes: Sequence[str], *, tenant: str | None = None, expires_at: str | None = None
    ) -> NewKey:
        """Make a key, of the own tenant if none is named; `expires_at` is RFC 3339 with a time zone."""
        body = {"name": name, "scopes": list(scopes), "tenant": tenant, "expires_at": expires_at}
        return self._api.read(NewKey, "POST", "/v1/keys", json=body, once=True)

    def all(self, *, tenant: str | None = None, page: int = _PAGE) -> Iterator[Key]:
        """Yield the keys of a tenant, the newest first; those that are not valid any more too."""
        query: dict[str, str | int] = {"limit": page} if tenant is None else {"limit": page, "tenant": tenant}
        return self._api.pages(Key, "/v1/keys", query)

    def get(self, key_id: str) -> Key:
        """Return a key."""
        return self._api.read(Key, "GET", f"/v1/keys/{quoted(key_id)}")

    def revoke(self, key_id: str) -> None:
        """Make a key invalid, within 5 seconds everywhere and for ever."""
        self._api.call("DELETE", f"/v1/keys/{quoted(key_id)}")

    def rotate(self, key_id: str, *, overlap_s: int | None = None) -> NewKey:
        """Give a key another secret; the present one is good for `overlap_s` more, an hour if not given."""
        body = {} if overlap_s is None else {"overlap_s": overlap_s}
        return self._api.read(NewKey, "POST", f"/v1/keys/{quoted(key_id)}/rotate", json=body, once=True)


class TenantClient:
    """Calls the API about tenants. Safe to share between threads."""

    def __init__(self, api: Transport) -> None:
        self._api = api

    def own(self) -> OwnTenant:
        """Return the tenant of the key in use, its limits and usage, and the key."""
        return self._api.read(OwnTenant, "GET", "/v1/tenant")

    def get(self, tenant: str) -> Tenant:
        """Return a tenant; needs the scope admin."""
        return self._api.read(Tenant, "GET", f"/v1/tenants/{quoted(tenant)}")

    def put(
        self,
        tenant: str,
        *,
        weight: float = 1.0,
        read: Sequence[str] | None = None,
        write: Sequence[str] | None = None,
        limits: Mapping[str, float | None] | None = None,
    ) -> Tenant:
        """Set all of a tenant, with its defaults for what is not given; needs the scope admin."""
        body: dict[str, Any] = {
            "weight": weight,
            "read": None if read is None else list(read),
            "write": None if write is None else list(write),
            "limits": dict(limits or {}),
        }
        return self._api.read(Tenant, "PUT", f"/v1/tenants/{quoted(tenant)}", json=body)
