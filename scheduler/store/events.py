"""The event log in the database.

Events are written in the transaction of the change that they describe. An event gets its id when it is written, but
others see it only when its transaction is committed. PostgreSQL may commit a larger id first, so a reader that asks for
all ids above the last one could miss events. There are two kinds of readers, and neither misses any:

- A reader of one subject reads by id. A transaction that writes an event of a subject has inserted, updated or locked
  the row of the subject before (`noting` locks it itself), and holds that lock until it is committed. So the next
  writer gets its ids when the earlier events are visible, and the ids of a subject's events are in the order of the
  commits. This works because PostgreSQL releases row locks after a commit has become visible, and because its sequences
  give out ids one by one (CACHE 1). SQLite has only one writer at a time.
- The fan-out to webhooks reads all subjects, by the flag `fanned_out` and not by id.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, exists, insert, or_, select, update

from nst_core.client.resources.events import EventType
from nst_core.client.resources.jobs import JobStatus
from nst_core.client.resources.runs import RunStatus
from scheduler.domain.events import Event, Snapshot, error_data, job_changes, run_changes
from scheduler.store.database import now_of
from scheduler.store.rows import build
from scheduler.store.tables import events, jobs, runs

_COUNTS = ("total", "pending", "running", "succeeded", "failed", "cancelled")
_ENDED_JOBS = tuple(status for status in JobStatus if status.is_terminal)
_ENDED_RUNS = tuple(status for status in RunStatus if status.is_terminal)


@dataclass(frozen=True, kw_only=True)
class SubjectKind:
    """What the log needs to know about jobs, or about runs."""

    #: Locks the job or run with an id and returns its state.
    standing: Callable[[Connection, str], Snapshot]
    #: The events of a change from one state to another.
    changes: Callable[[Snapshot, Snapshot], Iterator[EventType]]


def record(connection: Connection, kind: SubjectKind, id: str, type: EventType) -> None:
    """Add an event of a job or run that this transaction has inserted, updated or locked."""
    _insert(connection, id, type, kind.standing(connection, id))


@contextmanager
def noting(connection: Connection, kind: SubjectKind, id: str) -> Iterator[None]:
    """Lock a job or run, and add events for the changes that the block makes to it.

    Every change of a job's or a run's status needs one.
    """
    before = kind.standing(connection, id)
    yield
    after = kind.standing(connection, id)
    for type in kind.changes(before, after):
        _insert(connection, id, type, after)


def record_progress(connection: Connection, job_id: str, *, every_s: float = 1.0) -> None:
    """Add the counts of a job that this transaction has locked, unless its last event is younger than `every_s`.

    The log itself is queried, so the limit applies to all schedulers together. The next event includes skipped changes;
    job.completed has the final counts.
    """
    newest = select(events.c.created_at).where(events.c.subject == job_id).order_by(events.c.id.desc()).limit(1)
    last = connection.execute(newest).scalar()
    # If the last event lies in the future, the clock was set back after it.
    if last is None or not 0 <= now_of(connection) - last < every_s:
        record(connection, JOB, job_id, EventType.JOB_PROGRESS)


def last_event(connection: Connection, subject: str) -> Event | None:
    """Return the newest event of a subject."""
    query = select(events).where(events.c.subject == subject).order_by(events.c.id.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else build(Event, row)


def events_after(connection: Connection, places: Sequence[tuple[str, int]], *, limit: int) -> list[Event]:
    """Return up to `limit` events of subjects, oldest first, with a larger id than the one given for each."""
    if not places:
        return []
    wanted = [and_(events.c.subject == subject, events.c.id > after) for subject, after in places]
    query = select(events).where(or_(*wanted)).order_by(events.c.id).limit(limit)
    return [build(Event, row) for row in connection.execute(query)]


def any_unfanned(connection: Connection) -> bool:
    """Return whether there are events without deliveries to webhooks."""
    query = select(events.c.id).where(events.c.fanned_out.is_(False)).limit(1)
    return connection.execute(query).first() is not None


def take_unfanned(connection: Connection, *, limit: int) -> list[Event]:
    """Return events without deliveries to webhooks, oldest first, and keep other schedulers from taking them."""
    query = select(events).where(events.c.fanned_out.is_(False)).order_by(events.c.id).limit(limit)
    return [build(Event, row) for row in connection.execute(query.with_for_update(skip_locked=True))]


def set_fanned_out(connection: Connection, ids: Sequence[int]) -> None:
    """Record that the deliveries of events were added."""
    connection.execute(update(events).where(events.c.id.in_(ids)).values(fanned_out=True))


def old_events(connection: Connection, *, created_before: float, limit: int) -> list[int]:
    """Return up to `limit` events that are older and were fanned out, of subjects that have ended or are gone."""
    going_on = or_(
        exists().where(jobs.c.id == events.c.subject, jobs.c.status.not_in(_ENDED_JOBS)),
        exists().where(runs.c.id == events.c.subject, runs.c.status.not_in(_ENDED_RUNS)),
    )
    old = select(events.c.id).where(events.c.created_at < created_before, events.c.fanned_out.is_(True), ~going_on)
    return list(connection.execute(old.order_by(events.c.created_at).limit(limit)).scalars())


def delete_events(connection: Connection, ids: Sequence[int]) -> None:
    """Remove events."""
    connection.execute(delete(events).where(events.c.id.in_(ids)))


def _insert(connection: Connection, subject: str, type: EventType, standing: Snapshot) -> None:
    values = {"tenant": standing.tenant, "subject": subject, "type": type, "data": standing.data}
    connection.execute(insert(events).values(**values, created_at=now_of(connection), fanned_out=False))


def _job(connection: Connection, job_id: str) -> Snapshot:
    columns = ("tenant", "status", "started_at", "error_code", "error_message", *_COUNTS)
    query = select(*(jobs.c[name] for name in columns)).where(jobs.c.id == job_id)
    row = connection.execute(query.with_for_update()).one()
    data = {
        "id": job_id,
        "status": row.status,
        "counts": {name: getattr(row, name) for name in _COUNTS},
        "error": error_data(row.error_code, row.error_message),
    }
    return Snapshot(tenant=row.tenant, status=row.status, started_at=row.started_at, data=data)


def _run(connection: Connection, run_id: str) -> Snapshot:
    columns = ("tenant", "name", "status", "step", "steps", "started_at", "progress", "checkpoint_uri", "version")
    query = select(*(runs.c[name] for name in (*columns, "error_code", "error_message"))).where(runs.c.id == run_id)
    row = connection.execute(query.with_for_update()).one()
    data = {
        "id": run_id,
        "name": row.name,
        "status": row.status,
        "step": row.step,
        "steps": row.steps,
        "losses": (row.progress or {}).get("losses") or None,
        "version": row.version,
        "error": error_data(row.error_code, row.error_message),
    }
    return Snapshot(
        tenant=row.tenant, status=row.status, started_at=row.started_at, checkpoint=row.checkpoint_uri, data=data
    )


JOB = SubjectKind(standing=_job, changes=job_changes)
RUN = SubjectKind(standing=_run, changes=run_changes)
