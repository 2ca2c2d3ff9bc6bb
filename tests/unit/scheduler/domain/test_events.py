"""Tests of scheduler.domain.events."""

import pytest

from nst_core.client.resources.events import EventType
from nst_core.client.resources.jobs import JobStatus
from nst_core.client.resources.runs import RunStatus
from scheduler.domain.events import Snapshot, job_changes, payload, run_changes

NOW = 1_800_000_000.0


def job(status: JobStatus, *, started_at: float | None = None) -> Snapshot:
    return Snapshot(tenant="t", status=status, started_at=started_at)


def run(status: RunStatus, *, checkpoint: str | None = None) -> Snapshot:
    return Snapshot(tenant="t", status=status, started_at=None, checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (JobStatus.QUEUED, JobStatus.PLANNING, []),
        (JobStatus.PLANNING, JobStatus.PLANNING, []),
        (JobStatus.RUNNING, JobStatus.CANCELLING, [EventType.JOB_CANCELLING]),
        (JobStatus.CANCELLING, JobStatus.FINALIZING, [EventType.JOB_FINALIZING]),
        (JobStatus.FINALIZING, JobStatus.CANCELLED, [EventType.JOB_COMPLETED]),
        (JobStatus.FAILED, JobStatus.RUNNING, [EventType.JOB_RESUMED]),
        (JobStatus.FAILED, JobStatus.FINALIZING, [EventType.JOB_RESUMED, EventType.JOB_FINALIZING]),
    ],
)
def test_a_change_of_status_is_told_once(before: JobStatus, after: JobStatus, told: list[EventType]) -> None:
    assert list(job_changes(job(before), job(after))) == told


def test_the_first_start_is_told_before_what_comes_of_it() -> None:
    changes = job_changes(job(JobStatus.RUNNING), job(JobStatus.FINALIZING, started_at=NOW))
    assert list(changes) == [EventType.JOB_STARTED, EventType.JOB_FINALIZING]
    assert list(job_changes(job(JobStatus.RUNNING, started_at=1.0), job(JobStatus.RUNNING, started_at=2.0))) == []


def test_no_job_goes_on_after_its_end_without_saying_so() -> None:
    """Otherwise, streams would end with the first end."""
    for before in JobStatus:
        for after in JobStatus:
            told = list(job_changes(job(before), job(after)))
            if before.is_terminal and not after.is_terminal and after is not JobStatus.CANCELLING:
                assert told[0] in (EventType.JOB_RESUMED, EventType.JOB_PAUSED)


def test_checkpoints_pauses_and_ends_of_runs_are_told() -> None:
    running = run(RunStatus.RUNNING, checkpoint="a")
    assert list(run_changes(running, run(RunStatus.RUNNING, checkpoint="b"))) == [EventType.RUN_CHECKPOINT]
    assert list(run_changes(running, run(RunStatus.EVALUATING, checkpoint="a"))) == []
    assert list(run_changes(running, run(RunStatus.PAUSED, checkpoint="a"))) == [EventType.RUN_PAUSED]
    assert list(run_changes(run(RunStatus.PAUSED), run(RunStatus.QUEUED))) == [EventType.RUN_RESUMED]
    ended = run(RunStatus.CANCELLED, checkpoint="b")
    assert list(run_changes(running, ended)) == [EventType.RUN_CHECKPOINT, EventType.RUN_COMPLETED]


def test_times_are_rfc_3339_in_utc() -> None:
    told = payload("job.created", 1_800_000_000.25, {"id": "job_1"})
    assert told == {"type": "job.created", "timestamp": "2027-01-15T08:00:00.250Z", "data": {"id": "job_1"}}
