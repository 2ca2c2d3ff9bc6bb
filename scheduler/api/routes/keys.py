"""Routes of API keys."""

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, StringConstraints

from scheduler.access.keys import DEFAULT_OVERLAP_S, MAX_OVERLAP_S
from scheduler.api.bodies import Body
from scheduler.api.dependencies import CallerDep, KeysDep
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import Page
from scheduler.api.parameters import TENANT_PATTERN, AfterId, KeyId, Limit
from scheduler.api.problems import answers
from scheduler.api.times import Moment, moment, moment_if
from scheduler.domain.scopes import Scope
from scheduler.store.keys import ApiKey

router = APIRouter(route_class=JsonRoute, prefix="/v1/keys", tags=["keys"])

KeyName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Tenant = Annotated[str, StringConstraints(pattern=TENANT_PATTERN)]


class KeyBody(Body):
    """A key to make."""

    name: KeyName = Field(description="What it is for.")
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))] = Field(
        description="What it may do; no more than the key that makes it."
    )
    expires_at: Moment | None = Field(None, description="RFC 3339; it is good for ever if this is not given.")
    tenant: Tenant | None = Field(None, description="Whose it is; another than the own for the scope admin alone.")


class RotateBody(Body):
    """How a key gets another secret."""

    overlap_s: int = Field(
        DEFAULT_OVERLAP_S, ge=0, le=MAX_OVERLAP_S, description="The present secret is good for so many seconds more."
    )


class KeyView(BaseModel):
    """A key, without its secret."""

    id: str = Field(description="The 8 digits between nst_ and the secret.")
    name: str
    tenant: str
    scopes: list[str]
    status: Literal["active", "expired", "revoked"]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    previous_until: datetime | None = Field(description="The secret of before the last rotation is good until then.")

    @classmethod
    def of(cls, key: ApiKey, *, now: float) -> Self:
        """Return the view of a key."""
        expired = key.expires_at is not None and now >= key.expires_at
        return cls(
            id=key.prefix,
            name=key.name,
            tenant=key.tenant,
            scopes=list(key.scopes),
            status="revoked" if key.revoked_at is not None else "expired" if expired else "active",
            created_at=moment(key.created_at),
            expires_at=moment_if(key.expires_at),
            revoked_at=moment_if(key.revoked_at),
            last_used_at=moment_if(key.last_used_at),
            previous_until=moment_if(key.previous_until),
        )


class NewKeyView(KeyView):
    """A key with its secret, which is never shown again."""

    key: str = Field(description="What Authorization: Bearer takes. Keep it; nobody can tell it again.")


class KeyPage(Page[KeyView, str]):
    """Keys, newest first."""


@router.post("", status_code=201)
def create_key(body: KeyBody, keys: KeysDep, caller: CallerDep, response: Response) -> NewKeyView:
    """Make an API key. Its secret is in this answer and nowhere else."""
    key, text = keys.create(
        caller,
        name=body.name,
        scopes=body.scopes,
        tenant=body.tenant,
        expires_at=None if body.expires_at is None else body.expires_at.timestamp(),
    )
    response.headers["Location"] = f"/v1/keys/{key.prefix}"
    return _with_secret(KeyView.of(key, now=keys.now()), text)


@router.get("")
def list_keys(
    keys: KeysDep,
    caller: CallerDep,
    limit: Limit = 100,
    after_id: AfterId = None,
    tenant: Annotated[
        str | None, Query(pattern=TENANT_PATTERN, description="Another than the own for the scope admin alone.")
    ] = None,
) -> KeyPage:
    """List the keys of a tenant, newest first; those that are not valid any more too."""
    return KeyPage.collect(
        lambda most, after: keys.all(caller, tenant=tenant, limit=most, after=after),
        lambda key: KeyView.of(key, now=keys.now()),
        limit=limit,
        after_id=after_id,
    )


@router.get("/{prefix}")
def get_key(prefix: KeyId, keys: KeysDep, caller: CallerDep) -> KeyView:
    """Return a key."""
    return KeyView.of(keys.get(caller, prefix), now=keys.now())


@router.delete("/{prefix}", status_code=204)
def revoke_key(prefix: KeyId, keys: KeysDep, caller: CallerDep) -> None:
    """Revoke a key; it is dead everywhere within 5 seconds, and for ever."""
    keys.revoke(caller, prefix)


@router.post("/{prefix}/rotate", responses=answers(409))
def rotate_key(prefix: KeyId, keys: KeysDep, caller: CallerDep, body: RotateBody | None = None) -> NewKeyView:
    """Give a key another secret; the present one is good for a while, one of before is not any more."""
    overlap_s = (body or RotateBody()).overlap_s
    key, text = keys.rotate(caller, prefix, overlap_s=overlap_s)
    return _with_secret(KeyView.of(key, now=keys.now()), text)


def _with_secret(view: KeyView, text: str) -> NewKeyView:
    return NewKeyView(**view.model_dump(), key=text)
