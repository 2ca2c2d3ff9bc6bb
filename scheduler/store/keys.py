"""API keys in the database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from scheduler.domain.cursors import Place
from scheduler.store.rows import build
from scheduler.store.tables import api_keys

#: The name of the key of the installation's settings.
BOOTSTRAP = "bootstrap"


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key with its tenant, its scopes and its expiry. Only a hash of its secret is stored.

    Times are seconds since 1970, UTC.
    """

    #: 8 hex digits, which name it.
    prefix: str
    sha256: str = field(repr=False)
    tenant: str
    name: str = ""
    scopes: tuple[str, ...] = ()
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    #: To the minute.
    last_used_at: float | None = None
    #: The previous secret stays valid until this time.
    previous_sha256: str | None = field(default=None, repr=False)
    previous_until: float | None = None

    @property
    def place(self) -> Place:
        """Its place in the list of its tenant."""
        return Place(self.created_at, self.prefix)


def find_key(connection: Connection, prefix: str, *, tenant: str | None = None, lock: bool = False) -> ApiKey | None:
    """Return a key; with a tenant, only if it is theirs; with `lock`, nobody else changes it in this transaction."""
    query = select(api_keys).where(api_keys.c.prefix == prefix)
    if tenant is not None:
        query = query.where(api_keys.c.tenant == tenant)
    if lock:
        query = query.with_for_update()
    row = connection.execute(query).first()
    return None if row is None else _key(row)


def list_keys(connection: Connection, tenant: str, *, limit: int, after: Place | None = None) -> Sequence[ApiKey]:
    """Return up to `limit` keys of a tenant, newest first, that follow the place `after`."""
    columns = api_keys.c
    query = select(api_keys).where(columns.tenant == tenant)
    if after is not None:
        same_time = and_(columns.created_at == after.created_at, columns.prefix < after.id)
        query = query.where(or_(columns.created_at < after.created_at, same_time))
    query = query.order_by(columns.created_at.desc(), columns.prefix.desc()).limit(limit)
    return [_key(row) for row in connection.execute(query)]


def count_keys(connection: Connection, tenant: str, *, now: float) -> int:
    """Return how many keys of a tenant are valid."""
    valid = (api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now))
    query = select(func.count()).select_from(api_keys).where(api_keys.c.tenant == tenant, *valid)
    return int(connection.execute(query).scalar_one())


def forget_dead(connection: Connection, tenant: str, *, now: float, keep: int) -> None:
    """Delete the oldest keys of a tenant that were made by clients and are not valid any more, except `keep` of them.

    Keys from the installation's settings are kept; otherwise they would become valid again when a process starts.
    """
    dead = or_(api_keys.c.revoked_at.is_not(None), api_keys.c.expires_at <= now)
    made_here = api_keys.c.name != BOOTSTRAP
    query = select(api_keys.c.prefix).where(api_keys.c.tenant == tenant, dead, made_here)
    query = query.order_by(api_keys.c.created_at.desc(), api_keys.c.prefix.desc()).offset(keep).limit(1000)
    connection.execute(delete(api_keys).where(api_keys.c.prefix.in_(connection.execute(query).scalars().all())))


def insert_key(connection: Connection, key: ApiKey) -> None:
    """Add a key; raise RowConflictError if its prefix is taken."""
    connection.execute(insert(api_keys).values({**vars(key), "scopes": list(key.scopes)}))


class KeyChanges(TypedDict, total=False):
    """The columns of a key that can change."""

    sha256: str
    previous_sha256: str | None
    previous_until: float | None
    revoked_at: float | None


def update_key(connection: Connection, prefix: str, **changes: Unpack[KeyChanges]) -> None:
    """Set columns of a key."""
    connection.execute(update(api_keys).where(api_keys.c.prefix == prefix).values(dict(changes)))


def touch_key(connection: Connection, prefix: str, *, now: float, older_than: float) -> None:
    """Record that a key is in use, unless that was recorded after `older_than`, and not for a time to come."""
    last = api_keys.c.last_used_at
    stale = or_(last.is_(None), last <= older_than, last > now)
    connection.execute(update(api_keys).where(api_keys.c.prefix == prefix, stale).values(last_used_at=now))


def _key(row: Any) -> ApiKey:
    return build(ApiKey, row, scopes=tuple(row.scopes))
