"""Runs in the database, with their current attempts and last good checkpoints."""

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, Select, delete, exists, func, insert, or_, select, update

from nst_core.client.resources.events import EventType
from nst_core.client.resources.runs import RunStatus
from nst_core.protocol.segments import Phase, StoredFile
from scheduler.domain.runs import OUTDATED, Run, RunSpec, SegmentState, Stop
from scheduler.store import events as event_rows
from scheduler.store.rows import build
from scheduler.store.tables import runs, segments, styles

_SPEC = TypeAdapter(RunSpec)
#: Columns whose change may be an event.
_TOLD = frozenset({"status", "started_at", "checkpoint"})
_TURN = (runs.c.id, runs.c.tenant, runs.c.status, runs.c.live, runs.c.not_before)
ENDED = tuple(status for status in RunStatus if status.is_terminal)
#: See `Run.is_through`.
_THROUGH = runs.c.result.is_not(None) & runs.c.result[OUTDATED].as_boolean().is_not(True)


class RunChanges(TypedDict, total=False):
    """The fields of a run that can change after it was accepted."""

    status: RunStatus
    spec: RunSpec
    step: int
    steps: int
    attempt: int
    live: SegmentState
    phase: Phase | None
    claimed_at: float | None
    lease_until: float | None
    not_before: float
    failures: int
    worker: str | None
    progress: dict[str, Any] | None
    photos: dict[str, Any] | None
    config: dict[str, Any] | None
    checkpoint: StoredFile | None
    result: dict[str, Any] | None
    version: str | None
    stop: Stop
    error_code: str | None
    error_message: str | None
    started_at: float | None
    finished_at: float | None
    train_seconds: float
    untidy: bool
    emptied: bool
    pruned: bool


def insert_run(
    connection: Connection,
    *,
    id: str,
    tenant: str,
    name: str,
    spec: RunSpec,
    fingerprint: str,
    now: float,
) -> None:
    """Add a queued run."""
    connection.execute(
        insert(runs).values(
            id=id,
            tenant=tenant,
            name=name,
            status=RunStatus.QUEUED,
            spec=dump_spec(spec),
            steps=spec.config["steps"],
            fingerprint=fingerprint,
            created_at=now,
        )
    )
    event_rows.record(connection, event_rows.RUN, id, EventType.RUN_CREATED)


def dump_spec(spec: RunSpec) -> dict[str, Any]:
    """Return a spec in the format of its column."""
    values: dict[str, Any] = _SPEC.dump_python(spec, mode="json")
    return values


def find_run(connection: Connection, id: str, *, tenant: str | None = None) -> Run | None:
    """Return a run; with a tenant, only if it is theirs."""
    query = select(runs).where(runs.c.id == id)
    if tenant is not None:
        query = query.where(runs.c.tenant == tenant, runs.c.pruned.is_(False))
    row = connection.execute(query).first()
    return None if row is None else _run(row)


def lock_run(connection: Connection, id: str) -> Run | None:
    """Return a run and keep others from changing it until the transaction ends."""
    row = connection.execute(select(runs).where(runs.c.id == id).with_for_update()).first()
    return None if row is None else _run(row)


def lock_unchanged_run(connection: Connection, found: Run, *names: str) -> Run | None:
    """Lock a run and return it; return None if it is gone, or if one of the named fields differs from `found`."""
    run = lock_run(connection, found.id)
    same = run is not None and all(getattr(run, name) == getattr(found, name) for name in names)
    return run if same else None


def list_runs(
    connection: Connection,
    tenant: str,
    *,
    limit: int,
    after_id: str | None,
    status: RunStatus | None = None,
    name: str | None = None,
) -> list[Run]:
    """Return up to `limit` runs of a tenant, newest first, that are older than `after_id`."""
    query = select(runs).where(runs.c.tenant == tenant, runs.c.pruned.is_(False))
    query = query.order_by(runs.c.id.desc()).limit(limit)
    if after_id is not None:
        query = query.where(runs.c.id < after_id)
    if status is not None:
        query = query.where(runs.c.status == status)
    if name is not None:
        query = query.where(runs.c.name == name)
    return [_run(row) for row in connection.execute(query)]


@dataclass(frozen=True, kw_only=True)
class RunTurn:
    """What run control needs to know to choose the next run."""

    id: str
    tenant: str
    status: RunStatus
    live: SegmentState
    not_before: float


def has_unfinished_runs(connection: Connection) -> bool:
    """Return whether any run has not ended, or has a live segment."""
    unfinished = or_(runs.c.status.not_in(ENDED), runs.c.live != SegmentState.NONE)
    return bool(connection.execute(select(exists().where(unfinished))).scalar())


def runs_at_work(connection: Connection) -> list[RunTurn]:
    """Return the runs that have a live segment or are between two, oldest first."""
    going_on = runs.c.status.in_((RunStatus.RUNNING, RunStatus.EVALUATING)) & ~_THROUGH
    return _turns(connection, select(*_TURN).where(or_(runs.c.live != SegmentState.NONE, going_on)).order_by(runs.c.id))


def first_queued_runs(connection: Connection, *, now: float, without: Collection[str] = ()) -> list[RunTurn]:
    """Return each tenant's oldest queued run that may be sent now, except those in `without`."""
    queued = select(func.min(runs.c.id)).where(
        runs.c.status == RunStatus.QUEUED, runs.c.live == SegmentState.NONE, runs.c.not_before <= now
    )
    first = queued.where(runs.c.id.not_in(without)).group_by(runs.c.tenant)
    return _turns(connection, select(*_TURN).where(runs.c.id.in_(first)).order_by(runs.c.id))


def last_claims(connection: Connection, tenants: Collection[str]) -> dict[str, float]:
    """Return when each of the tenants last had a segment sent; those that never had one are left out."""
    query = select(runs.c.tenant, func.max(runs.c.claimed_at).label("last")).where(
        runs.c.tenant.in_(tenants), runs.c.claimed_at.is_not(None)
    )
    return {row.tenant: row.last for row in connection.execute(query.group_by(runs.c.tenant))}


def _turns(connection: Connection, query: Select[Any]) -> list[RunTurn]:
    return [build(RunTurn, row) for row in connection.execute(query)]


def overdue_runs(connection: Connection, *, now: float) -> list[str]:
    """Return the ids of runs whose segment's lease has ended."""
    query = select(runs.c.id).where(runs.c.live != SegmentState.NONE, runs.c.lease_until < now)
    return list(connection.execute(query.order_by(runs.c.id)).scalars())


def dispatched_runs(connection: Connection) -> list[tuple[str, int]]:
    """Return id and attempt of the runs whose segment was sent and that no worker is known to have begun."""
    query = select(runs.c.id, runs.c.attempt).where(runs.c.live == SegmentState.DISPATCHED)
    return [(row.id, row.attempt) for row in connection.execute(query.order_by(runs.c.id))]


def stopping_runs(connection: Connection) -> list[str]:
    """Return the ids of runs whose live segment a client wants to end."""
    query = select(runs.c.id).where(runs.c.live != SegmentState.NONE, runs.c.stop != Stop.NONE)
    return list(connection.execute(query.order_by(runs.c.id)).scalars())


def untidy_runs(connection: Connection, *, without: Sequence[str] = (), limit: int = 10) -> list[str]:
    """Return the ids of up to `limit` runs, but not of `without`, that may have objects that nothing needs."""
    query = select(runs.c.id).where(runs.c.untidy, runs.c.pruned.is_(False), runs.c.id.not_in(without))
    query = query.order_by(runs.c.id).limit(limit)
    return list(connection.execute(query).scalars())


def prunable_runs(
    connection: Connection, *, finished_before: float | None, without: Sequence[str], limit: int = 10
) -> list[str]:
    """Return the ids of runs that are being deleted, and of those that ended before a time, but none of `without`."""
    old: ColumnElement[bool] = runs.c.pruned.is_(True)
    if finished_before is not None:
        old = or_(old, runs.c.status.in_(ENDED) & (runs.c.finished_at < finished_before))
    query = select(runs.c.id).where(old, runs.c.id.not_in(without)).order_by(runs.c.id).limit(limit)
    return list(connection.execute(query).scalars())


def full_runs(connection: Connection, *, finished_before: float, without: Sequence[str], limit: int = 10) -> list[str]:
    """Return the ids of runs that ended before a time and have checkpoints and samples, but none of `without`."""
    old = (runs.c.status.in_(ENDED), runs.c.finished_at < finished_before)
    query = select(runs.c.id).where(*old, runs.c.emptied.is_(False), runs.c.id.not_in(without))
    return list(connection.execute(query.order_by(runs.c.id).limit(limit)).scalars())


def is_pruned(connection: Connection, id: str) -> bool:
    """Return whether a run is being deleted."""
    return bool(connection.execute(select(runs.c.pruned).where(runs.c.id == id)).scalar())


def empty_run(connection: Connection, id: str) -> None:
    """Record that a run's checkpoints and samples were deleted."""
    values = {"emptied": True, "untidy": True, "checkpoint_uri": None, "checkpoint_sha256": None}
    connection.execute(update(runs).where(runs.c.id == id).values(values))


def delete_run(connection: Connection, id: str) -> None:
    """Delete a run and its segments."""
    connection.execute(delete(segments).where(segments.c.run_id == id))
    connection.execute(delete(runs).where(runs.c.id == id))


def runs_with_result(connection: Connection) -> list[str]:
    """Return the ids of runs whose result is not a version of their style yet."""
    query = select(runs.c.id).where(runs.c.status == RunStatus.EVALUATING, runs.c.live == SegmentState.NONE, _THROUGH)
    return list(connection.execute(query.order_by(runs.c.id)).scalars())


def claim(connection: Connection, run: Run, *, now: float, lease_until: float) -> int:
    """Begin a new attempt at a run, locked and without a live segment, and return its number."""
    attempt = run.attempt + 1
    values: RunChanges = {
        "attempt": attempt,
        "live": SegmentState.DISPATCHED,
        "phase": run.next_phase,
        # A run is queued until a worker begins. But a run that has done all its steps must not be extended from now on.
        "status": RunStatus.EVALUATING if run.has_all_steps else run.status,
        "claimed_at": now,
        "lease_until": lease_until,
        "worker": None,
    }
    connection.execute(update(runs).where(runs.c.id == run.id).values(dict(values)))
    return attempt


def update_run(connection: Connection, id: str, **changes: Unpack[RunChanges]) -> None:
    """Set fields of a run, and add the resulting events to its log."""
    told = bool(_TOLD & changes.keys())
    values: dict[str, Any] = dict(changes)
    if "checkpoint" in changes:
        checkpoint = values.pop("checkpoint")
        values["checkpoint_uri"] = None if checkpoint is None else checkpoint.uri
        values["checkpoint_sha256"] = None if checkpoint is None else checkpoint.sha256
    if "spec" in changes:
        values["spec"] = dump_spec(changes["spec"])
    with event_rows.noting(connection, event_rows.RUN, id) if told else nullcontext():
        connection.execute(update(runs).where(runs.c.id == id).values(values))


def published(connection: Connection, found: list[Run]) -> set[str]:
    """Return which of the runs, by id, have made the present version of their style."""
    query = select(styles.c.name, styles.c.version, styles.c.tenant).where(
        styles.c.name.in_({run.name for run in found})
    )
    present = {tuple(row) for row in connection.execute(query)}
    return {run.id for run in found if (run.name, run.version, run.tenant) in present}


def _run(row: Any) -> Run:
    checkpoint = stored_file(row.checkpoint_uri, row.checkpoint_sha256)
    return build(Run, row, spec=_SPEC.validate_python(row.spec), checkpoint=checkpoint)


def stored_file(uri: str | None, sha256: str | None) -> StoredFile | None:
    """Return the file of two columns, None if they are null."""
    return None if uri is None or sha256 is None else StoredFile(uri=uri, sha256=sha256)
