"""Chunks in the database: who may work at which items, for how long, as which attempt."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update

from nst_core.protocol import Method
from scheduler.domain import ChunkStatus
from scheduler.store.tables import chunks, items

ACTIVE = (ChunkStatus.DISPATCHED, ChunkStatus.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A chunk as the store has it."""

    id: int
    job_id: str
    method: Method
    style: str
    version: str
    status: ChunkStatus
    attempt: int
    failures: int
    lease_until: float | None


def next_chunk(connection: Connection, job_id: str, *, now: float, failures_below: int | None = None) -> Chunk | None:
    """Return the first chunk of a job that waits and may be sent now, of all or of those that failed less often."""
    query = select(chunks).where(
        chunks.c.job_id == job_id, chunks.c.status == ChunkStatus.PENDING, chunks.c.not_before <= now
    )
    if failures_below is not None:
        query = query.where(chunks.c.failures < failures_below)
    row = connection.execute(query.order_by(chunks.c.id).limit(1)).first()
    return None if row is None else _chunk(row)


def is_active(connection: Connection, method: Method, *, failures: int) -> bool:
    """Return whether a chunk that failed so often, or more, is in Redis or with a worker."""
    query = select(chunks.c.id).where(
        chunks.c.status.in_(ACTIVE), chunks.c.method == method, chunks.c.failures >= failures
    )
    return connection.execute(query.limit(1)).first() is not None


def active_counts(connection: Connection) -> dict[str, dict[ChunkStatus, int]]:
    """Return how many chunks each job has in Redis and with workers."""
    query = (
        select(chunks.c.job_id, chunks.c.status, func.count())
        .where(chunks.c.status.in_(ACTIVE))
        .group_by(chunks.c.job_id, chunks.c.status)
    )
    counts: dict[str, dict[ChunkStatus, int]] = {}
    for job_id, status, count in connection.execute(query):
        counts.setdefault(job_id, {})[ChunkStatus(status)] = count
    return counts


def dispatched_counts(connection: Connection) -> Counter[Method]:
    """Return how many chunks of each method were sent and not begun."""
    query = (
        select(chunks.c.method, func.count()).where(chunks.c.status == ChunkStatus.DISPATCHED).group_by(chunks.c.method)
    )
    return Counter({Method(method): count for method, count in connection.execute(query)})


def claim(connection: Connection, chunk: Chunk, *, now: float, lease_s: float) -> int | None:
    """Begin a new attempt at a waiting chunk and return its number; None where another claimed it first."""
    attempt = chunk.attempt + 1
    done = connection.execute(
        update(chunks)
        .where(chunks.c.id == chunk.id, chunks.c.status == ChunkStatus.PENDING, chunks.c.attempt == chunk.attempt)
        .values(status=ChunkStatus.DISPATCHED, attempt=attempt, claimed_at=now, lease_until=now + lease_s)
    )
    return attempt if done.rowcount else None


def find_chunk(connection: Connection, id: int) -> Chunk | None:
    """Return a chunk."""
    row = connection.execute(select(chunks).where(chunks.c.id == id)).first()
    return None if row is None else _chunk(row)


def lock_attempt(connection: Connection, id: int, attempt: int) -> Chunk | None:
    """Return a chunk and keep others from changing it, or None where the attempt is no longer the current one."""
    query = select(chunks).where(chunks.c.id == id, chunks.c.attempt == attempt, chunks.c.status.in_(ACTIVE))
    row = connection.execute(query.with_for_update()).first()
    return None if row is None else _chunk(row)


def set_running(connection: Connection, id: int, *, lease_until: float, worker: str | None) -> None:
    """Renew the lease of the worker that has begun a chunk."""
    values: dict[str, Any] = {"status": ChunkStatus.RUNNING, "lease_until": lease_until}
    if worker is not None:
        values["worker"] = worker
    connection.execute(update(chunks).where(chunks.c.id == id).values(values))


def set_pending(connection: Connection, id: int, *, failures: int, not_before: float) -> None:
    """Let a chunk wait for its next attempt."""
    connection.execute(
        update(chunks)
        .where(chunks.c.id == id)
        .values(status=ChunkStatus.PENDING, failures=failures, not_before=not_before, lease_until=None, worker=None)
    )


def forgive(connection: Connection, id: int) -> None:
    """Forget the attempts at a chunk that failed."""
    connection.execute(update(chunks).where(chunks.c.id == id).values(failures=0))


def set_done(connection: Connection, id: int) -> None:
    """End a chunk."""
    connection.execute(update(chunks).where(chunks.c.id == id).values(status=ChunkStatus.DONE, lease_until=None))


def split(connection: Connection, chunk: Chunk, indexes: Sequence[int]) -> None:
    """Move items of a chunk to chunks of one item each, and end the chunk."""
    for index in indexes:
        values = {
            "job_id": chunk.job_id,
            "method": chunk.method,
            "style": chunk.style,
            "version": chunk.version,
            "status": ChunkStatus.PENDING,
        }
        new_id = connection.execute(insert(chunks).values(values).returning(chunks.c.id)).scalar_one()
        own = (items.c.chunk_id == chunk.id, items.c.position == index)
        connection.execute(update(items).where(*own).values(chunk_id=new_id))
    set_done(connection, chunk.id)


def overdue(connection: Connection, *, now: float, limit: int = 100) -> list[Chunk]:
    """Return chunks whose lease has ended."""
    query = select(chunks).where(chunks.c.status.in_(ACTIVE), chunks.c.lease_until < now).limit(limit)
    return [_chunk(row) for row in connection.execute(query)]


def dispatched_before(
    connection: Connection, method: Method, *, claimed_before: float, limit: int = 100
) -> list[Chunk]:
    """Return chunks of a method that were sent before a time and that no worker has begun."""
    query = select(chunks).where(
        chunks.c.status == ChunkStatus.DISPATCHED,
        chunks.c.method == method,
        or_(chunks.c.claimed_at.is_(None), chunks.c.claimed_at < claimed_before),
    )
    return [_chunk(row) for row in connection.execute(query.limit(limit))]


def end_unbegun(connection: Connection, job_id: str) -> None:
    """End the chunks of a job that no worker has begun."""
    states = (ChunkStatus.PENDING, ChunkStatus.DISPATCHED)
    connection.execute(
        update(chunks)
        .where(chunks.c.job_id == job_id, chunks.c.status.in_(states))
        .values(status=ChunkStatus.DONE, lease_until=None)
    )


def _chunk(row: Any) -> Chunk:
    return Chunk(
        id=row.id,
        job_id=row.job_id,
        method=Method(row.method),
        style=row.style,
        version=row.version,
        status=ChunkStatus(row.status),
        attempt=row.attempt,
        failures=row.failures,
        lease_until=row.lease_until,
    )
