"""Tenants in the database: their settings and usage."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, insert, select, text, union, update

from nst_core.client.resources.jobs import JobStatus
from nst_core.client.resources.runs import RunStatus
from scheduler.store.tables import api_keys, jobs, runs, tenants

_OPEN_JOBS = tuple(status for status in JobStatus if not status.is_terminal)
_OPEN_RUNS = tuple(status for status in RunStatus if not status.is_terminal)


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """The settings of a tenant."""

    id: str
    #: Its share of the workers, relative to other tenants.
    weight: float = 1.0
    #: s3:// prefixes that end in a slash; None: see scheduler.access.places.Permissions.
    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None
    #: By name, what differs from the defaults; None: unlimited.
    limits: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The current usage of a tenant."""

    queued_items: int
    unfinished_jobs: int
    unfinished_runs: int


def find_tenant(connection: Connection, id: str) -> Tenant | None:
    """Return the settings of a tenant, or None if it has defaults only."""
    row = connection.execute(select(tenants).where(tenants.c.id == id)).first()
    return None if row is None else _tenant(row)


def is_known(connection: Connection, id: str) -> bool:
    """Return whether a tenant has settings or keys."""
    of_row, of_key = select(tenants.c.id).where(tenants.c.id == id), select(api_keys.c.tenant)
    return connection.execute(union(of_row, of_key.where(api_keys.c.tenant == id))).first() is not None


def list_ids(connection: Connection, *, limit: int, after: str) -> list[str]:
    """Return up to `limit` ids of tenants in order, after one of them."""
    of_rows, of_keys = select(tenants.c.id).where(tenants.c.id > after), select(api_keys.c.tenant)
    both = union(of_rows, of_keys.where(api_keys.c.tenant > after)).subquery()
    return list(connection.execute(select(both.c.id).order_by(both.c.id).limit(limit)).scalars())


def count_tenants(connection: Connection) -> int:
    """Return how many tenants have settings."""
    return int(connection.execute(select(func.count()).select_from(tenants)).scalar_one())


def put_tenant(connection: Connection, tenant: Tenant, *, now: float) -> None:
    """Replace the settings of a tenant; raise RowConflictError if another transaction has just added it."""
    values = {
        "weight": tenant.weight,
        "read_places": None if tenant.read is None else list(tenant.read),
        "write_places": None if tenant.write is None else list(tenant.write),
        "limits": tenant.limits,
        "updated_at": now,
    }
    changed = connection.execute(update(tenants).where(tenants.c.id == tenant.id).values(values))
    if changed.rowcount == 0:
        connection.execute(insert(tenants).values(id=tenant.id, created_at=now, **values))


def list_weights(connection: Connection) -> dict[str, float]:
    """Return the weights of the tenants whose weight is not 1."""
    query = select(tenants.c.id, tenants.c.weight).where(tenants.c.weight != 1.0)
    return {row.id: row.weight for row in connection.execute(query)}


def usage_of(connection: Connection, tenant: str) -> Usage:
    """Return the usage of a tenant."""
    of_jobs = connection.execute(
        select(func.count(), func.coalesce(func.sum(jobs.c.pending), 0)).where(
            jobs.c.tenant == tenant, jobs.c.status.in_(_OPEN_JOBS)
        )
    ).one()
    return Usage(
        queued_items=int(of_jobs[1]),
        unfinished_jobs=int(of_jobs[0]),
        unfinished_runs=count_open_runs(connection, tenant),
    )


def count_open_runs(connection: Connection, tenant: str) -> int:
    """Return how many runs of a tenant have not ended; those that are paused count too."""
    query = select(func.count()).where(runs.c.tenant == tenant, runs.c.status.in_(_OPEN_RUNS))
    return int(connection.execute(query).scalar_one())


def lock_tenant(connection: Connection, tenant: str) -> None:
    """Lock out other transactions that take this lock, so that a count stays correct until a row is added.

    On PostgreSQL this is a lock of its own, for a tenant may have no row; SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant, 7206))"), {"tenant": tenant})


def _tenant(row: Any) -> Tenant:
    return Tenant(
        id=row.id,
        weight=row.weight,
        read=None if row.read_places is None else tuple(row.read_places),
        write=None if row.write_places is None else tuple(row.write_places),
        limits=dict(row.limits),
    )
