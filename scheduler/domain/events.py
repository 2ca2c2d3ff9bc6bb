"""Types of events of jobs and runs, and their data.

An event says what has become of its subject (a job or a run); its data are the same for all events of a kind of
subject, and small, so that they fit into a webhook's message.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nst_core.client.resources.events import EventType
from nst_core.client.resources.jobs import JobStatus
from nst_core.client.resources.runs import RunStatus

#: The most characters of an error's message, so that an event fits into 20 kB.
_MAX_MESSAGE = 1000
_PAUSED = "paused"


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event in the database."""

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
    """What decides which events a change of a job or a run makes, and the data of these events."""

    tenant: str
    status: JobStatus | RunStatus
    started_at: float | None
    #: s3:// address of a run's last checkpoint.
    checkpoint: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


def job_changes(before: Snapshot, after: Snapshot) -> Iterator[EventType]:
    """Yield the events of a change of a job, in order."""
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
    """Yield the events of a change of a run, in order."""
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
    """Return the data of an event, which is the same in streams and webhooks."""
    return {"type": type, "timestamp": rfc3339(created_at), "data": data}


def _at_rest(standing: Snapshot) -> bool:
    """Return whether only a client can make it continue. That makes an event, or streams would end too early."""
    return standing.status.is_terminal or standing.status == _PAUSED
