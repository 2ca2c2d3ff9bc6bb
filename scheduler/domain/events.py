"""The words of the event log: what happens to jobs and runs, and what is told of it.

An event says what has become of its subject (a job or a run); its data are the same for all events of a kind of
subject, and small, so that they fit into a webhook's message.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from scheduler.domain.jobs import JobStatus
from scheduler.domain.runs import RunStatus

#: Of an error's sentence, so that an event fits into a message of 20 kB.
_MAX_MESSAGE = 1000
_PAUSED = "paused"


class EventType(StrEnum):
    """What an event tells."""

    JOB_CREATED = "job.created"
    JOB_STARTED = "job.started"  # a worker has begun its first images
    JOB_PROGRESS = "job.progress"  # other counts; once a second at most
    JOB_FINALIZING = "job.finalizing"  # every item is terminal
    JOB_PAUSED = "job.paused"
    JOB_RESUMED = "job.resumed"  # goes on after a pause, or after its end
    JOB_CANCELLING = "job.cancelling"  # waits for what workers have in hand
    JOB_COMPLETED = "job.completed"  # has its last status
    RUN_CREATED = "run.created"
    RUN_STARTED = "run.started"  # a worker has begun the first segment
    RUN_CHECKPOINT = "run.checkpoint"  # a segment has ended with a checkpoint
    RUN_PAUSED = "run.paused"
    RUN_RESUMED = "run.resumed"  # goes on after a pause, or after its end
    RUN_COMPLETED = "run.completed"  # has its last status

    @property
    def is_terminal(self) -> bool:
        return self in (EventType.JOB_COMPLETED, EventType.RUN_COMPLETED)


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event as the store has it."""

    #: Grows with time among the events of one subject.
    id: int
    tenant: str
    #: A job's or a run's id.
    subject: str
    type: EventType
    data: dict[str, Any]
    #: Seconds since 1970, UTC.
    created_at: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What of a job or a run decides which events a change makes, and what these tell."""

    tenant: str
    status: JobStatus | RunStatus
    started_at: float | None
    #: s3:// address of a run's last checkpoint.
    checkpoint: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


def job_changes(before: Snapshot, after: Snapshot) -> Iterator[EventType]:
    """Yield what a change of a job is to tell, in order."""
    if before.started_at is None and after.started_at is not None:
        yield EventType.JOB_STARTED
    if before.status == after.status:
        return
    if after.status.is_terminal:
        yield EventType.JOB_COMPLETED
    elif after.status == _PAUSED:
        yield EventType.JOB_PAUSED
    elif after.status == JobStatus.CANCELLING:
        yield EventType.JOB_CANCELLING
    else:
        if _at_rest(before):
            yield EventType.JOB_RESUMED
        if after.status == JobStatus.FINALIZING:
            yield EventType.JOB_FINALIZING


def run_changes(before: Snapshot, after: Snapshot) -> Iterator[EventType]:
    """Yield what a change of a run is to tell, in order."""
    if before.started_at is None and after.started_at is not None:
        yield EventType.RUN_STARTED
    if after.checkpoint is not None and after.checkpoint != before.checkpoint:
        yield EventType.RUN_CHECKPOINT
    if before.status == after.status:
        return
    if after.status.is_terminal:
        yield EventType.RUN_COMPLETED
    elif after.status == _PAUSED:
        yield EventType.RUN_PAUSED
    elif _at_rest(before):
        yield EventType.RUN_RESUMED


def error_data(code: str | None, message: str | None) -> dict[str, str] | None:
    """Return an error as events tell it."""
    return None if code is None else {"code": code, "message": (message or "")[:_MAX_MESSAGE]}


def rfc3339(seconds: float) -> str:
    """Return a time as events tell it, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def payload(type: str, created_at: float, data: dict[str, Any]) -> dict[str, Any]:
    """Return what a stream and a webhook tell of an event, the same of both."""
    return {"type": type, "timestamp": rfc3339(created_at), "data": data}


def _at_rest(standing: Snapshot) -> bool:
    """Return whether only a client makes it go on. Without an event for that, a stream would end with the first end."""
    return standing.status.is_terminal or standing.status == _PAUSED
