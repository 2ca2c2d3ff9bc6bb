"""Routes of API keys."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from nst_core.client.resources.access import TENANT_PATTERN, Key, KeyPage, KeyRequest, NewKey, RotateRequest
from scheduler.api.dependencies import CallerDep, KeysDep
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import collect
from scheduler.api.parameters import AfterId, KeyId, Limit
from scheduler.api.problems import answers
from scheduler.api.resources import key_of, new_key_of

router = APIRouter(route_class=JsonRoute, prefix="/v1/keys", tags=["keys"])


@router.post("", status_code=201)
def create_key(body: KeyRequest, keys: KeysDep, caller: CallerDep, response: Response) -> NewKey:
    """Create an API key. Only this response contains its secret."""
    key, text = keys.create(
        caller,
        name=body.name,
        scopes=body.scopes,
        tenant=body.tenant,
        expires_at=None if body.expires_at is None else body.expires_at.timestamp(),
    )
    response.headers["Location"] = f"/v1/keys/{key.prefix}"
    return new_key_of(key, text, now=keys.now())


@router.get("")
def list_keys(
    keys: KeysDep,
    caller: CallerDep,
    limit: Limit = 100,
    after_id: AfterId = None,
    tenant: Annotated[
        str | None, Query(pattern=TENANT_PATTERN, description="A tenant other than your own; needs the scope `admin`.")
    ] = None,
) -> KeyPage:
    """List the keys of a tenant, newest first, including those that are no longer valid."""
    return collect(
        KeyPage,
        lambda most, after: keys.all(caller, tenant=tenant, limit=most, after=after),
        lambda key: key_of(key, now=keys.now()),
        limit=limit,
        after_id=after_id,
        place=lambda key: key.place.dump(),
    )


@router.get("/{prefix}")
def get_key(prefix: KeyId, keys: KeysDep, caller: CallerDep) -> Key:
    """Return a key."""
    return key_of(keys.get(caller, prefix), now=keys.now())


@router.delete("/{prefix}", status_code=204)
def revoke_key(prefix: KeyId, keys: KeysDep, caller: CallerDep) -> None:
    """Revoke a key permanently. It stops working everywhere within 5 seconds."""
    keys.revoke(caller, prefix)


@router.post("/{prefix}/rotate", responses=answers(409))
def rotate_key(prefix: KeyId, keys: KeysDep, caller: CallerDep, body: RotateRequest | None = None) -> NewKey:
    """Replace the secret of a key. The current secret stays valid for a while; earlier ones do not."""
    overlap_s = (body or RotateRequest()).overlap_s
    key, text = keys.rotate(caller, prefix, overlap_s=overlap_s)
    return new_key_of(key, text, now=keys.now())
