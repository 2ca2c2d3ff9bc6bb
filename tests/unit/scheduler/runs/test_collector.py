"""Tests of scheduler.runs.collector."""

import pytest

from nst_core.client.resources.runs import RunStatus
from nst_core.protocol.events import (
    SegmentEvent,
    SegmentFailure,
    SegmentFinished,
    SegmentProgress,
    SegmentStarted,
    TrainProgress,
)
from nst_core.protocol.segments import StoredFile
from scheduler.domain.runs import Run, SegmentState, Stop
from scheduler.runs.collector import RunCollector, merged
from scheduler.runs.ends import RetryPolicy
from scheduler.store.database import Database
from scheduler.store.runs import claim, lock_run, update_run
from tests.unit.scheduler.kit import ManualClock, add_run, change, run_of

LEASE_S = 30.0
CHECKPOINT = StoredFile(uri="s3://nst/c", sha256="c" * 64)


@pytest.fixture
def collector(database: Database, clock: ManualClock) -> RunCollector:
    return RunCollector(database, clock=clock, lease_s=LEASE_S, retries=RetryPolicy(max_failures=2, backoff_s=2.0))


@pytest.fixture
def run(database: Database, clock: ManualClock) -> Run:
    """A run whose first segment was sent."""
    return send(database, add_run(database, steps=100), clock)


def send(database: Database, run_id: str, clock: ManualClock) -> Run:
    """Claim the next segment of a run, as run control does."""
    with database.write() as connection:
        found = lock_run(connection, run_id)
        assert found is not None
        claim(connection, found, now=clock.now, lease_until=clock.now + 60)
    return run_of(database, run_id)


def finished(
    run: Run, step: int, *, checkpoint: StoredFile | None = CHECKPOINT, failure: SegmentFailure | None = None
) -> SegmentFinished:
    return SegmentFinished(
        run_id=run.id,
        attempt=run.attempt,
        worker="w",
        step=step,
        seconds=5.0,
        checkpoint=checkpoint,
        failure=failure,
    )


def test_the_first_event_sets_the_run_running(
    collector: RunCollector, database: Database, run: Run, clock: ManualClock
) -> None:
    assert collector.apply(SegmentStarted(run_id=run.id, attempt=run.attempt, worker="w"))
    now = run_of(database)
    assert (now.status, now.live, now.worker) == (RunStatus.RUNNING, SegmentState.RUNNING, "w")
    assert (now.started_at, now.lease_until) == (clock.now, clock.now + LEASE_S)


def test_a_segment_ends_with_a_checkpoint(collector: RunCollector, database: Database, run: Run) -> None:
    assert collector.apply(finished(run, 60))
    now = run_of(database)
    assert (now.status, now.live, now.step, now.checkpoint) == (RunStatus.RUNNING, SegmentState.NONE, 60, CHECKPOINT)
    assert now.train_seconds == 5.0


def test_the_last_step_is_followed_by_the_evaluation(collector: RunCollector, database: Database, run: Run) -> None:
    collector.apply(finished(run, 100))
    assert run_of(database).status is RunStatus.EVALUATING


def test_one_end_of_an_attempt_is_accepted(collector: RunCollector, database: Database, run: Run) -> None:
    assert collector.apply(finished(run, 60))
    assert not collector.apply(finished(run, 80))
    assert run_of(database).step == 60


@pytest.mark.parametrize("attempt", [0, 2])
def test_an_outdated_attempt_changes_nothing(
    collector: RunCollector, database: Database, run: Run, attempt: int
) -> None:
    event: SegmentEvent = SegmentStarted(run_id=run.id, attempt=attempt, worker="w")
    assert not collector.apply(event)
    assert run_of(database) == run


def test_a_failure_is_tried_again_until_there_are_too_many(
    collector: RunCollector, database: Database, run: Run, clock: ManualClock
) -> None:
    failure = SegmentFailure(code="c", message="No.", retryable=True)
    collector.apply(finished(run, 0, checkpoint=None, failure=failure))
    now = run_of(database)
    assert (now.failures, now.not_before) == (1, clock.now + 2.0)
    collector.apply(finished(send(database, run.id, clock), 0, checkpoint=None, failure=failure))
    assert (run_of(database).status, run_of(database).error_code) == (RunStatus.FAILED, "c")


def test_a_pause_takes_effect_at_the_end_of_the_segment(collector: RunCollector, database: Database, run: Run) -> None:
    change(database, update_run, run.id, status=RunStatus.PAUSING, stop=Stop.PAUSE)
    collector.apply(finished(run, 60))
    assert (run_of(database).status, run_of(database).stop, run_of(database).step) == (RunStatus.PAUSED, Stop.NONE, 60)


def test_progress_is_kept(collector: RunCollector, database: Database, run: Run) -> None:
    progress = TrainProgress(step=30, losses={"total": 4.0}, steps_per_s=2.0)
    collector.apply(SegmentProgress(run_id=run.id, attempt=run.attempt, progress=progress))
    assert (run_of(database).progress or {})["step"] == 30


def test_progress_without_losses_keeps_the_last_ones() -> None:
    before = {"step": 1, "losses": {"total": 4.0}, "steps_per_s": 2.0}
    after = merged(before, TrainProgress(step=2))
    assert (after["step"], after["losses"], after["steps_per_s"]) == (2, {"total": 4.0}, 2.0)
