"""Jobs in the database."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, insert, select, update

from nst_core.protocol import ItemStatus
from scheduler.domain import Counts, Job, JobSpec, JobStatus
from scheduler.events import EventType
from scheduler.store import events as event_rows
from scheduler.store.tables import jobs

_SPEC = TypeAdapter(JobSpec)
#: Columns whose change may be an event.
_TOLD = frozenset({"status", "started_at"})


def insert_job(
    connection: Connection,
    *,
    id: str,
    tenant: str,
    spec: JobSpec,
    fingerprint: str,
    idempotency_key: str | None,
    now: float,
) -> None:
    """Add a queued job."""
    connection.execute(
        insert(jobs).values(
            id=id,
            tenant=tenant,
            status=JobStatus.QUEUED,
            spec=_SPEC.dump_python(spec, mode="json"),
            fingerprint=fingerprint,
            idempotency_key=idempotency_key,
            created_at=now,
        )
    )
    event_rows.record_job(connection, id, EventType.JOB_CREATED)


def find_job(connection: Connection, id: str, *, tenant: str | None = None) -> Job | None:
    """Return a job; with a tenant, only if it is theirs."""
    query = select(jobs).where(jobs.c.id == id)
    if tenant is not None:
        query = query.where(jobs.c.tenant == tenant)
    row = connection.execute(query).first()
    return None if row is None else _job(row)


def lock_job(connection: Connection, id: str) -> Job:
    """Return a job and keep others from changing it until the transaction ends.

    Whoever changes a job's counts takes this lock before that of a chunk, so that transactions cannot deadlock.
    """
    return _job(connection.execute(select(jobs).where(jobs.c.id == id).with_for_update()).one())


def find_by_idempotency_key(connection: Connection, tenant: str, key: str) -> tuple[Job, str] | None:
    """Return the job that was submitted with an Idempotency-Key, and its request's fingerprint."""
    query = select(jobs).where(jobs.c.tenant == tenant, jobs.c.idempotency_key == key)
    row = connection.execute(query).first()
    return None if row is None else (_job(row), str(row.fingerprint))


def list_jobs(connection: Connection, tenant: str, *, limit: int, after_id: str | None) -> list[Job]:
    """Return up to `limit` jobs of a tenant, newest first, that are older than `after_id`."""
    query = select(jobs).where(jobs.c.tenant == tenant).order_by(jobs.c.id.desc()).limit(limit)
    if after_id is not None:
        query = query.where(jobs.c.id < after_id)
    return [_job(row) for row in connection.execute(query)]


def jobs_with_status(connection: Connection, statuses: Sequence[JobStatus]) -> list[Job]:
    """Return all jobs that have one of the statuses, oldest first."""
    query = select(jobs).where(jobs.c.status.in_(statuses)).order_by(jobs.c.id)
    return [_job(row) for row in connection.execute(query)]


def update_job(connection: Connection, id: str, **values: Any) -> None:
    """Set columns of a job; what that makes for its event log is written along."""
    with event_rows.noting_job(connection, id) if _TOLD & values.keys() else nullcontext():
        connection.execute(update(jobs).where(jobs.c.id == id).values(values))


def move_counts(connection: Connection, id: str, changes: Mapping[ItemStatus, int], *, added: int = 0) -> None:
    """Add to a job's counts; the changes of existing items sum to 0, those of new items to `added`."""
    values = {jobs.c[status]: jobs.c[status] + change for status, change in changes.items() if change}
    if added:
        values[jobs.c.total] = jobs.c.total + added
    if values:
        connection.execute(update(jobs).where(jobs.c.id == id).values(values))


def finalize_if_through(connection: Connection, id: str) -> None:
    """Let a job whose inputs are all planned and whose items are all terminal go on to its reports."""
    ready = (JobStatus.RUNNING, JobStatus.CANCELLING)
    done = connection.execute(
        update(jobs)
        .where(jobs.c.id == id, jobs.c.status.in_(ready), jobs.c.pending == 0, jobs.c.running == 0)
        .values(status=JobStatus.FINALIZING)
    )
    if done.rowcount:
        event_rows.record_job(connection, id, EventType.JOB_FINALIZING)


def _job(row: Any) -> Job:
    return Job(
        id=row.id,
        tenant=row.tenant,
        status=JobStatus(row.status),
        spec=_SPEC.validate_python(row.spec),
        counts=Counts(
            total=row.total,
            pending=row.pending,
            running=row.running,
            succeeded=row.succeeded,
            failed=row.failed,
            cancelled=row.cancelled,
        ),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error_code=row.error_code,
        error_message=row.error_message,
        planned_inputs=row.planned_inputs,
        planned_key=row.planned_key,
        cancel_requested=row.cancel_requested,
    )
