"""Jobs in the database."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, literal, or_, select, update

from nst_core.client.resources.events import EventType
from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import TERMINAL, Counts, JobStatus, Priority, StopReason
from scheduler.domain.jobs import ChunkStatus, Job, JobSpec, Reopening
from scheduler.store import events as event_rows
from scheduler.store.rows import build
from scheduler.store.tables import chunks, job_labels, jobs

_SPEC = TypeAdapter(JobSpec)
#: Columns whose change may be an event.
_TOLD = frozenset({"status", "started_at"})
#: There are unread inputs, or items that no chunk has: those of a retried job, or of one that is being stopped.
_PLANNABLE = or_(
    jobs.c.status.in_((JobStatus.QUEUED, JobStatus.PLANNING)),
    jobs.c.status.in_((JobStatus.RUNNING, JobStatus.CANCELLING)) & jobs.c.unchunked,
)
#: All columns except the addresses of inline photos.
_COLUMNS = [column for column in jobs.c if column.name != "input_uris"]


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job that was just accepted."""

    id: str
    tenant: str
    spec: JobSpec
    fingerprint: str
    client_id: str | None = None
    deadline: float | None = None
    priority: Priority = Priority.NORMAL


class JobChanges(TypedDict, total=False):
    """Columns of a job that change after it was accepted. Its counts change by `move_counts`."""

    status: JobStatus
    stop: StopReason | None
    started_at: float | None
    finished_at: float | None
    deadline: float | None
    error_code: str | None
    error_message: str | None
    planned: bool
    planned_inputs: int
    planned_key: str | None
    unchunked: bool
    reopening: dict[str, Any] | None
    retries: int
    forgiven: int
    client_id: str | None
    pruned: bool
    with_results: bool


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What the dispatcher needs to know about a job with items to send."""

    id: str
    tenant: str
    method: str
    priority: Priority


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs a listing shows: those that match all fields."""

    status: JobStatus | None = None
    method: str | None = None
    #: Metadata that a job must have.
    labels: Mapping[str, str] = field(default_factory=dict)
    created_after: float | None = None
    created_before: float | None = None


def insert_job(connection: Connection, job: NewJob, *, now: float) -> None:
    """Add a queued job; raise RowConflictError if its `client_id` is taken."""
    values = {name: value for name, value in vars(job).items() if name != "spec"}
    spec, uris = _SPEC.dump_python(job.spec, mode="json"), job.spec.input.uris
    spec["input"]["uris"] = None
    values |= {"input_uris": None if uris is None else list(uris), "input_count": None if uris is None else len(uris)}
    connection.execute(
        insert(jobs).values(
            **values, spec=spec, method=job.spec.method, status=JobStatus.QUEUED, planned=False, created_at=now
        )
    )
    if job.spec.metadata:
        labels = [
            {"job_id": job.id, "key": key, "value": value, "tenant": job.tenant}
            for key, value in job.spec.metadata.items()
        ]
        connection.execute(insert(job_labels), labels)
    event_rows.record(connection, event_rows.JOB, job.id, EventType.JOB_CREATED)


def find_job(
    connection: Connection, id: str, *, tenant: str | None = None, lock: bool = False, inputs: bool = False
) -> Job | None:
    """Return a job by its id. With a tenant, only that tenant's job, which is also found by its custom id.

    With `lock`, keep others from changing it, as `lock_job` does. With `inputs`, its spec has the addresses of inline
    photos, which may be two megabytes.
    """
    query = select(*_COLUMNS, jobs.c.input_uris) if inputs else select(*_COLUMNS)
    if tenant is not None:
        # A client's id cannot look like one of ours, so at most one job matches.
        named = or_(jobs.c.id == id, jobs.c.client_id == id)
        query = query.where(jobs.c.tenant == tenant, named, jobs.c.pruned.is_(False))
    else:
        query = query.where(jobs.c.id == id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else _job(row)


def find_specs(connection: Connection, ids: Sequence[str]) -> dict[str, JobSpec]:
    """Return the specs of jobs by id, without the addresses of inline photos."""
    found: dict[str, JobSpec] = {}
    for start in range(0, len(ids), 1000):
        query = select(jobs.c.id, jobs.c.spec).where(jobs.c.id.in_(ids[start : start + 1000]))
        found |= {row.id: _SPEC.validate_python(row.spec) for row in connection.execute(query)}
    return found


def find_fingerprint(connection: Connection, id: str) -> str:
    """Return the fingerprint of the request that a job was made from."""
    return str(connection.execute(select(jobs.c.fingerprint).where(jobs.c.id == id)).scalar_one())


def lock_job(connection: Connection, id: str) -> Job:
    """Return a job and keep others from changing it until the transaction ends.

    Lock a job before its chunks, so that transactions cannot deadlock.
    """
    return _job(connection.execute(select(*_COLUMNS).where(jobs.c.id == id).with_for_update()).one())


def list_jobs(
    connection: Connection,
    tenant: str,
    *,
    limit: int,
    after_id: str | None,
    only: JobFilter = JobFilter(),
) -> list[Job]:
    """Return up to `limit` jobs of a tenant, newest first, that are older than `after_id`."""
    query, ids = select(*_COLUMNS).where(jobs.c.tenant == tenant, jobs.c.pruned.is_(False)), jobs.c.id
    for key, value in only.labels.items():
        # Each label needs its own table alias; otherwise one row would have to match all labels.
        label = job_labels.alias()
        named = (label.c.tenant == tenant, label.c.key == key, label.c.value == value)
        # Read in the order of the labels' index, a page costs no more where many jobs have the label, or few.
        query, ids = query.join(label, label.c.job_id == jobs.c.id).where(*named), label.c.job_id
    if after_id is not None:
        query = query.where(ids < after_id)
    if only.status is not None:
        query = query.where(jobs.c.status == only.status)
    if only.method is not None:
        query = query.where(jobs.c.method == only.method)
    if only.created_after is not None:
        query = query.where(jobs.c.created_at >= only.created_after)
    if only.created_before is not None:
        query = query.where(jobs.c.created_at < only.created_before)
    return [_job(row) for row in connection.execute(query.order_by(ids.desc()).limit(limit))]


@dataclass(frozen=True, kw_only=True)
class Finalizing:
    """What the finalizer needs to know to choose the next job."""

    id: str
    tenant: str
    #: Items, and so lines of its reports.
    total: int


def finalizing_jobs(connection: Connection) -> list[Finalizing]:
    """Return the jobs that wait for their reports, oldest first, without their specs, which may be long."""
    query = select(jobs.c.id, jobs.c.tenant, jobs.c.total).where(jobs.c.status == JobStatus.FINALIZING)
    return [build(Finalizing, row) for row in connection.execute(query.order_by(jobs.c.id))]


def waiting_jobs(connection: Connection, *, now: float) -> list[Waiting]:
    """Return the jobs that have chunks for the workers, oldest first, without their specs, which may be long."""
    statuses = (JobStatus.PLANNING, JobStatus.RUNNING)
    chunk = (chunks.c.job_id == jobs.c.id, chunks.c.status == ChunkStatus.PENDING, chunks.c.not_before <= now)
    query = select(jobs.c.id, jobs.c.tenant, jobs.c.method, jobs.c.priority).where(
        jobs.c.status.in_(statuses), jobs.c.pending > 0, exists().where(*chunk)
    )
    return [build(Waiting, row) for row in connection.execute(query.order_by(jobs.c.id))]


def plannable_tenants(connection: Connection, *, without: Sequence[str] = ()) -> list[str]:
    """Return the tenants of jobs, but not of `without`, that have inputs to be read or items that are in no chunk."""
    query = select(jobs.c.tenant).where(_PLANNABLE, jobs.c.id.not_in(without)).distinct()
    return list(connection.execute(query).scalars())


def next_plannable(connection: Connection, tenant: str, *, without: Sequence[str] = ()) -> str | None:
    """Return the job of a tenant to plan next, leaving out `without`."""
    query = select(jobs.c.id).where(jobs.c.tenant == tenant, _PLANNABLE, jobs.c.id.not_in(without))
    found: str | None = connection.execute(query.order_by(jobs.c.planned_inputs, jobs.c.id).limit(1)).scalar()
    return found


def output_prefixes(connection: Connection, tenant: str) -> list[tuple[str, str]]:
    """Return the id and the output prefix of all jobs of a tenant, the newest first."""
    prefix = jobs.c.spec["output"]["prefix"].as_string()
    query = select(jobs.c.id, prefix).where(jobs.c.tenant == tenant).order_by(jobs.c.id.desc())
    return [(id, prefix or "") for id, prefix in connection.execute(query)]


def stopping_jobs(connection: Connection) -> list[str]:
    """Return the ids of jobs that are being stopped."""
    statuses = (JobStatus.CANCELLING, JobStatus.FINALIZING)
    query = select(jobs.c.id).where(jobs.c.status.in_(statuses), jobs.c.stop.is_not(None)).order_by(jobs.c.id)
    return list(connection.execute(query).scalars())


def overdue_jobs(
    connection: Connection,
    statuses: Sequence[JobStatus],
    *,
    now: float,
    without: Sequence[str] = (),
    limit: int = 100,
) -> list[str]:
    """Return the ids of up to `limit` jobs with one of the statuses whose deadline has passed, but not of `without`."""
    query = select(jobs.c.id).where(jobs.c.status.in_(statuses), jobs.c.deadline <= now, jobs.c.id.not_in(without))
    return list(connection.execute(query.order_by(jobs.c.deadline).limit(limit)).scalars())


def prunable_jobs(
    connection: Connection, *, finished_before: float | None, without: Sequence[str] = (), limit: int = 10
) -> list[str]:
    """Return the ids of jobs that are being deleted, and of those that ended before a time, but none of `without`."""
    old: ColumnElement[bool] = jobs.c.pruned.is_(True)
    if finished_before is not None:
        old = or_(old, jobs.c.status.in_(TERMINAL) & (jobs.c.finished_at < finished_before))
    query = select(jobs.c.id).where(old, jobs.c.id.not_in(without)).order_by(jobs.c.id).limit(limit)
    return list(connection.execute(query).scalars())


def is_pruned(connection: Connection, id: str) -> tuple[bool, bool]:
    """Return whether a job is being deleted, and whether its images are too."""
    row = connection.execute(select(jobs.c.pruned, jobs.c.with_results).where(jobs.c.id == id)).one()
    return bool(row.pruned), bool(row.with_results)


def jobs_writing_to(connection: Connection, place: str, *, without: str) -> list[tuple[str, str]]:
    """Return the id and the output prefix of all jobs, of any tenant, that may have results below a prefix.

    Left out are the job `without`, and those whose images are being deleted along with them.
    """
    prefix, own = jobs.c.spec["output"]["prefix"].as_string(), literal(place)
    # Not LIKE: SQLite's takes A for a, and both databases take _ for any character.
    below, above = func.substr(prefix, 1, len(place)) == own, func.substr(own, 1, func.length(prefix)) == prefix
    query = select(jobs.c.id, prefix).where(jobs.c.id != without, jobs.c.with_results.is_(False), or_(below, above))
    return [(id, text) for id, text in connection.execute(query)]


def update_job(connection: Connection, id: str, **changes: Unpack[JobChanges]) -> None:
    """Set columns of a job, and add the resulting events to its log."""
    with event_rows.noting(connection, event_rows.JOB, id) if _TOLD & changes.keys() else nullcontext():
        connection.execute(update(jobs).where(jobs.c.id == id).values(dict(changes)))


def delete_job(connection: Connection, id: str) -> None:
    """Delete a job whose items and chunks are deleted."""
    connection.execute(delete(job_labels).where(job_labels.c.job_id == id))
    connection.execute(delete(jobs).where(jobs.c.id == id))


def move_counts(connection: Connection, id: str, changes: Mapping[ItemStatus, int], *, added: int = 0) -> None:
    """Add to a job's counts; the changes of existing items sum to 0, those of new items to `added`."""
    values = {jobs.c[status]: jobs.c[status] + change for status, change in changes.items() if change}
    if added:
        values[jobs.c.total] = jobs.c.total + added
    if values:
        connection.execute(update(jobs).where(jobs.c.id == id).values(values))


def finalize_if_through(connection: Connection, id: str) -> bool:
    """Finalize a job if all its inputs are planned and all its items have ended.

    Return whether it was finalized. A paused job is finalized too, since nothing is left to wait for.
    """
    ready = or_(
        jobs.c.status == JobStatus.CANCELLING,
        jobs.c.status.in_((JobStatus.RUNNING, JobStatus.PAUSED)) & jobs.c.planned,
    )
    done = connection.execute(
        update(jobs)
        .where(jobs.c.id == id, ready, jobs.c.pending == 0, jobs.c.running == 0)
        .values(status=JobStatus.FINALIZING)
    )
    if done.rowcount:
        event_rows.record(connection, event_rows.JOB, id, EventType.JOB_FINALIZING)
    return bool(done.rowcount)


def _job(row: Any) -> Job:
    spec = row.spec
    if uris := row._mapping.get("input_uris"):
        spec = {**spec, "input": {**spec["input"], "uris": uris}}
    counts = Counts(**{name: getattr(row, name) for name in Counts.model_fields})
    reopening = None if row.reopening is None else Reopening.load(row.reopening)
    return build(Job, row, spec=_SPEC.validate_python(spec), counts=counts, reopening=reopening)
