"""Idempotency keys in the database: requests in progress, and the results of finished ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from scheduler.store.tables import idempotency_keys as keys


@dataclass(frozen=True, kw_only=True)
class RequestKey:
    """A request with an Idempotency-Key."""

    tenant: str
    key: str
    operation: str
    #: A hash of the request's content.
    fingerprint: str
    #: Random; it differs if another request has taken over the claim.
    claim: str
    #: What the request created; None if it is in progress or its process died.
    resource_id: str | None
    claimed_at: float


def find_key(connection: Connection, tenant: str, key: str) -> RequestKey | None:
    """Return a key and keep others from changing it until the transaction ends."""
    query = select(*(keys.c[name] for name in RequestKey.__dataclass_fields__))
    row = connection.execute(query.where(keys.c.tenant == tenant, keys.c.key == key).with_for_update()).first()
    return None if row is None else RequestKey(**row._mapping)


def insert_key(connection: Connection, key: RequestKey) -> None:
    """Add a key; RowConflictError says that another request was first with it."""
    connection.execute(insert(keys).values(**vars(key), created_at=key.claimed_at))


def take_over(connection: Connection, key: RequestKey, *, claim: str, now: float) -> None:
    """Give a key, which `find_key` has locked, to another request."""
    own = (keys.c.tenant == key.tenant, keys.c.key == key.key)
    connection.execute(update(keys).where(*own).values(claim=claim, claimed_at=now))


def complete(connection: Connection, tenant: str, key: str, *, claim: str, resource_id: str) -> bool:
    """Record what a request created; return False if another one has taken over its claim."""
    done = connection.execute(update(keys).where(*_claimed(tenant, key, claim)).values(resource_id=resource_id))
    return bool(done.rowcount)


def release(connection: Connection, tenant: str, key: str, *, claim: str) -> None:
    """Delete the key of a request that created nothing."""
    connection.execute(delete(keys).where(*_claimed(tenant, key, claim)))


def old_keys(connection: Connection, *, created_before: float, limit: int) -> list[tuple[str, str]]:
    """Return some of the keys that are older than a time, each with its tenant."""
    some = select(keys.c.tenant, keys.c.key).where(keys.c.created_at < created_before).limit(limit)
    return [(row.tenant, row.key) for row in connection.execute(some)]


def prune(connection: Connection, rows: Sequence[tuple[str, str]], *, created_before: float) -> None:
    """Delete keys that are still older than a time."""
    for tenant in {tenant for tenant, _ in rows}:
        names = [key for owner, key in rows if owner == tenant]
        # A key that was deleted and used again in the meantime is newer than that time.
        old = (keys.c.tenant == tenant, keys.c.key.in_(names), keys.c.created_at < created_before)
        connection.execute(delete(keys).where(*old))


def _claimed(tenant: str, key: str, claim: str) -> tuple[ColumnElement[bool], ...]:
    return keys.c.tenant == tenant, keys.c.key == key, keys.c.claim == claim, keys.c.resource_id.is_(None)
