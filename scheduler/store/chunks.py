"""Chunks in the database, with their items, attempts and leases."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from nst_core.client.resources.jobs import JobStatus, Priority
from scheduler.domain.jobs import ChunkStatus, Job
from scheduler.store import items
from scheduler.store.jobs import lock_job
from scheduler.store.rows import build
from scheduler.store.tables import chunks, jobs

ACTIVE = (ChunkStatus.DISPATCHED, ChunkStatus.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A chunk."""

    id: int
    job_id: str
    method: str
    style: str
    version: str
    status: ChunkStatus
    attempt: int
    #: Attempts that ended with a temporary fault.
    failures: int
    #: Attempts whose worker stopped responding, including those of the chunk from which this one was split.
    deaths: int
    worker: str | None
    lease_until: float | None
    #: If the worker of this attempt stops responding, the chunk is not to blame.
    blameless: bool = False


def next_chunk(connection: Connection, job_id: str, *, now: float, deaths_below: int | None = None) -> Chunk | None:
    """Return the first waiting chunk of a job that may be sent now and that no other scheduler has locked.

    With `deaths_below`, only a chunk that has lost fewer workers.
    """
    query = select(chunks).where(
        chunks.c.job_id == job_id, chunks.c.status == ChunkStatus.PENDING, chunks.c.not_before <= now
    )
    if deaths_below is not None:
        query = query.where(chunks.c.deaths < deaths_below)
    row = connection.execute(query.order_by(chunks.c.id).limit(1).with_for_update(skip_locked=True)).first()
    return None if row is None else build(Chunk, row)


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many chunks of a job were sent and have not ended."""

    job_id: str
    tenant: str
    method: str
    priority: Priority
    chunks: int


def count_last_tries(connection: Connection, tenant: str, method: str, *, deaths: int) -> int:
    """Return how many active chunks of a tenant have lost at least this many workers."""
    query = (
        select(func.count())
        .select_from(chunks.join(jobs, jobs.c.id == chunks.c.job_id))
        .where(chunks.c.status.in_(ACTIVE), chunks.c.method == method, chunks.c.deaths >= deaths)
        .where(jobs.c.tenant == tenant)
    )
    return int(connection.execute(query).scalar_one())


def active_shares(connection: Connection) -> list[Share]:
    """Return how many chunks of each job were sent and have not ended."""
    query = (
        select(chunks.c.job_id, jobs.c.tenant, chunks.c.method, jobs.c.priority, func.count().label("chunks"))
        .join(jobs, jobs.c.id == chunks.c.job_id)
        .where(chunks.c.status.in_(ACTIVE))
        .group_by(chunks.c.job_id, jobs.c.tenant, chunks.c.method, jobs.c.priority)
    )
    return [build(Share, row) for row in connection.execute(query)]


def dispatched_counts(connection: Connection) -> Counter[str]:
    """Return how many chunks of each method were sent and not begun."""
    query = (
        select(chunks.c.method, func.count()).where(chunks.c.status == ChunkStatus.DISPATCHED).group_by(chunks.c.method)
    )
    return Counter({method: int(count) for method, count in connection.execute(query)})


def oldest_claims(connection: Connection) -> dict[str, float]:
    """Return, for each method, when the oldest chunk that no worker has begun was sent."""
    query = (
        select(chunks.c.method, func.min(chunks.c.claimed_at))
        .where(chunks.c.status == ChunkStatus.DISPATCHED, chunks.c.claimed_at.is_not(None))
        .group_by(chunks.c.method)
    )
    return {method: float(claimed_at) for method, claimed_at in connection.execute(query)}


def claim(connection: Connection, chunk: Chunk, *, now: float, lease_s: float) -> int | None:
    """Begin a new attempt at a waiting chunk and return its number; return None if another scheduler was first."""
    attempt = chunk.attempt + 1
    done = connection.execute(
        update(chunks)
        .where(chunks.c.id == chunk.id, chunks.c.status == ChunkStatus.PENDING, chunks.c.attempt == chunk.attempt)
        .values(
            status=ChunkStatus.DISPATCHED,
            attempt=attempt,
            claimed_at=now,
            lease_until=now + lease_s,
            blameless=False,
        )
    )
    return attempt if done.rowcount else None


def find_chunk(connection: Connection, id: int) -> Chunk | None:
    """Return a chunk."""
    row = connection.execute(select(chunks).where(chunks.c.id == id)).first()
    return None if row is None else build(Chunk, row)


def lock_attempt(connection: Connection, id: int, attempt: int) -> tuple[Job, Chunk] | None:
    """Lock a chunk and its job, and return both; return None if the attempt is not the chunk's current one.

    The job is locked first, as in every transaction that changes its counts, to prevent deadlocks.
    """
    current = select(chunks).where(chunks.c.id == id, chunks.c.attempt == attempt, chunks.c.status.in_(ACTIVE))
    found = connection.execute(current).first()
    if found is None:
        return None
    job = lock_job(connection, found.job_id)
    # The attempt may have ended while this transaction waited for the job.
    row = connection.execute(current.with_for_update()).first()
    return None if row is None else (job, build(Chunk, row))


def set_running(
    connection: Connection, id: int, *, lease_until: float, worker: str | None, blameless: bool | None = None
) -> None:
    """Renew the lease of the worker that has begun a chunk; None leaves a column unchanged."""
    values: dict[str, Any] = {"status": ChunkStatus.RUNNING, "lease_until": lease_until}
    if blameless is not None:
        values["blameless"] = blameless
    if worker is not None:
        values["worker"] = worker
    connection.execute(update(chunks).where(chunks.c.id == id).values(values))


def set_pending(connection: Connection, id: int, *, failures: int, deaths: int, not_before: float) -> None:
    """Let a chunk wait for its next attempt."""
    values = {"failures": failures, "deaths": deaths, "not_before": not_before, "lease_until": None, "worker": None}
    connection.execute(update(chunks).where(chunks.c.id == id).values(status=ChunkStatus.PENDING, **values))


def forgive(connection: Connection, id: int) -> None:
    """Forget the failed attempts at a chunk."""
    connection.execute(update(chunks).where(chunks.c.id == id).values(failures=0, deaths=0))


def set_done(connection: Connection, id: int) -> None:
    """End a chunk."""
    connection.execute(update(chunks).where(chunks.c.id == id).values(status=ChunkStatus.DONE, lease_until=None))


def halve(connection: Connection, chunk: Chunk, indexes: Sequence[int], *, deaths: int) -> None:
    """Split a chunk's items into two new chunks, and end the chunk.

    Each half inherits the lost workers, unless it is a single item, which has never been tried alone.
    """
    middle = (len(indexes) + 1) // 2
    style = (chunk.style, chunk.version)
    for half in (indexes[:middle], indexes[middle:]):
        inherited = deaths if len(half) > 1 else 0
        (id,) = items.add_chunks(connection, chunk.job_id, [style], method=chunk.method, deaths=inherited)
        items.move_to_chunks(connection, chunk.job_id, dict.fromkeys(half, id))
    set_done(connection, chunk.id)


def overdue(connection: Connection, *, now: float, without: Sequence[int] = (), limit: int = 100) -> list[Chunk]:
    """Return up to `limit` chunks whose lease has expired, in the order of expiry, except those in `without`."""
    query = select(chunks).where(chunks.c.status.in_(ACTIVE), chunks.c.lease_until < now, chunks.c.id.not_in(without))
    query = query.order_by(chunks.c.lease_until, chunks.c.id).limit(limit)
    return [build(Chunk, row) for row in connection.execute(query)]


def dispatched(connection: Connection) -> list[Chunk]:
    """Return the chunks that were sent but not reported as begun; the dispatch windows limit their number."""
    query = select(chunks).where(chunks.c.status == ChunkStatus.DISPATCHED)
    return [build(Chunk, row) for row in connection.execute(query)]


def unwanted(connection: Connection, *, limit: int = 1000) -> list[Chunk]:
    """Return chunks of jobs that are paused or being stopped, if they were sent but not reported as begun."""
    sent = select(chunks).join(jobs, jobs.c.id == chunks.c.job_id).where(chunks.c.status == ChunkStatus.DISPATCHED)
    sent = sent.where(or_(jobs.c.stop.is_not(None), jobs.c.status == JobStatus.PAUSED))
    return [build(Chunk, row) for row in connection.execute(sent.limit(limit))]


def end_pending(connection: Connection, job_id: str) -> None:
    """End the chunks of a job that wait to be sent."""
    waiting = (chunks.c.job_id == job_id, chunks.c.status == ChunkStatus.PENDING)
    connection.execute(update(chunks).where(*waiting).values(status=ChunkStatus.DONE, lease_until=None))


def delete_chunks(connection: Connection, job_id: str, *, limit: int) -> int:
    """Delete some chunks of a job, whose items are gone, and return how many."""
    some = select(chunks.c.id).where(chunks.c.job_id == job_id).limit(limit)
    ids = list(connection.execute(some).scalars())
    if ids:
        connection.execute(delete(chunks).where(chunks.c.id.in_(ids)))
    return len(ids)
