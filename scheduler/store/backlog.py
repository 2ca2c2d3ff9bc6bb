"""What waits for the workers, and what they have, for monitoring: small queries over all tenants."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from nst_core.client.resources.jobs import JobStatus
from nst_core.client.resources.runs import RunStatus
from nst_core.protocol.segments import Phase
from scheduler.domain.jobs import ChunkStatus
from scheduler.store.chunks import ACTIVE
from scheduler.store.rates import Pace
from scheduler.store.rows import build
from scheduler.store.runs import ENDED
from scheduler.store.tables import chunks, jobs, rates, runs, segments

#: The mean time of a step in segments that trained. Those that measured, or failed, made no steps.
_TRAINS = segments.c.phase == Phase.TRAIN
_STEP_S = func.sum(segments.c.seconds) / func.nullif(func.sum(segments.c.to_step - segments.c.from_step), 0)
UNFINISHED = tuple(status for status in JobStatus if not status.is_terminal)


@dataclass(frozen=True, kw_only=True)
class UnfinishedJob:
    """A job that has not ended. Times are seconds since 1970."""

    id: str
    method: str
    status: JobStatus
    pending: int
    running: int
    created_at: float
    started_at: float | None


@dataclass(frozen=True, kw_only=True)
class UnfinishedRun:
    """A training that has not ended. Times are seconds since 1970."""

    status: RunStatus
    step: int
    steps: int
    #: The mean time of its steps; None before the end of its first segment.
    step_s: float | None
    created_at: float
    started_at: float | None


def unfinished_jobs(connection: Connection) -> list[UnfinishedJob]:
    """Return all jobs that have not ended, without their specs, which may be long."""
    columns = [jobs.c[name] for name in UnfinishedJob.__dataclass_fields__]
    query = select(*columns).where(jobs.c.status.in_(UNFINISHED))
    return [build(UnfinishedJob, row) for row in connection.execute(query)]


def unfinished_runs(connection: Connection) -> list[UnfinishedRun]:
    """Return all trainings that have not ended."""
    columns = [runs.c[name] for name in UnfinishedRun.__dataclass_fields__ if name != "step_s"]
    step_s = select(_STEP_S).where(segments.c.run_id == runs.c.id, _TRAINS).scalar_subquery()
    query = select(*columns, step_s.label("step_s")).where(runs.c.status.not_in(ENDED))
    return [build(UnfinishedRun, row) for row in connection.execute(query)]


def mean_step_s(connection: Connection) -> float | None:
    """Return the mean time of a training step, over all trainings; None if there was none yet."""
    found = connection.execute(select(_STEP_S).where(_TRAINS)).scalar()
    return None if found is None else float(found)


def active_chunks(connection: Connection) -> Counter[tuple[str, ChunkStatus]]:
    """Return how many chunks were sent and have not ended, by method and status."""
    query = select(chunks.c.method, chunks.c.status, func.count()).where(chunks.c.status.in_(ACTIVE))
    rows = connection.execute(query.group_by(chunks.c.method, chunks.c.status))
    return Counter({(method, status): int(count) for method, status, count in rows})


@dataclass(frozen=True, kw_only=True)
class MeanTime:
    """The mean time of the items of a style version."""

    pace: Pace
    version: str
    samples: int
    mean_ms: float


def mean_times(connection: Connection) -> Sequence[MeanTime]:
    """Return the mean times of all items that were done."""
    return [build(MeanTime, row, pace=build(Pace, row)) for row in connection.execute(select(rates))]
