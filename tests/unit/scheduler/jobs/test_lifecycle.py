"""Tests of scheduler.jobs.lifecycle."""

from collections.abc import Callable
from functools import partial

import pytest

from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobStatus, StopReason
from scheduler.domain.codes import MAX_FAILURES
from scheduler.domain.errors import ConflictError, NothingToRetryError
from scheduler.domain.jobs import Job, Reopening
from scheduler.jobs import lifecycle
from scheduler.store.database import Connection, Database
from scheduler.store.jobs import lock_job, update_job
from tests.unit.scheduler.kit import ManualClock, add_job, change, items_of, job_of, send_all


def do(database: Database, step: Callable[[Connection, Job], object], job_id: str = "job_1") -> Job:
    """Take a step of a job's life, and return the job."""
    with database.write() as connection:
        step(connection, lock_job(connection, job_id))
    return job_of(database, job_id)


def go_on_retrying(connection: Connection, job: Job) -> None:
    """Reopen the next items."""
    assert job.reopening is not None
    lifecycle.continue_retry(connection, job, job.reopening)


cancel = partial(lifecycle.stop, reason=StopReason.CANCEL)


def test_stopping_cancels_what_was_not_sent(database: Database, clock: ManualClock) -> None:
    add_job(database, items=4, per_chunk=2)
    add_job(database, "job_2")
    job = do(database, cancel)
    assert (job.status, job.counts.cancelled) == (JobStatus.FINALIZING, 4)
    assert job_of(database, "job_2").counts.pending == 2


def test_stopping_waits_for_what_was_sent(database: Database, clock: ManualClock) -> None:
    add_job(database)
    send_all(database, now=clock.now)
    job = do(database, cancel)
    assert (job.status, job.counts.pending) == (JobStatus.CANCELLING, 2)
    assert do(database, cancel) == job, "it is being stopped already"


def test_too_many_failures_stop_a_job(database: Database) -> None:
    add_job(database, items=4, max_failures=1)
    changes = {ItemStatus.PENDING: -2, ItemStatus.FAILED: 2}
    job = do(database, lambda connection, job: lifecycle.settle(connection, job, changes))
    assert (job.stop, job.error_code) == (StopReason.MAX_FAILURES, MAX_FAILURES)


def test_a_job_is_paused_and_resumed(database: Database) -> None:
    add_job(database)
    assert do(database, lifecycle.pause).status is JobStatus.PAUSED
    assert do(database, lifecycle.pause).status is JobStatus.PAUSED
    assert do(database, lifecycle.resume).status is JobStatus.RUNNING


@pytest.mark.parametrize("step", [lifecycle.pause, lifecycle.resume])
def test_an_ended_job_is_neither_paused_nor_resumed(
    database: Database, step: Callable[[Connection, Job], None]
) -> None:
    add_job(database)
    change(database, update_job, "job_1", status=JobStatus.SUCCEEDED)
    with pytest.raises(ConflictError):
        do(database, step)


def test_a_retry_needs_an_ended_job_with_something_to_do(database: Database, clock: ManualClock) -> None:
    add_job(database)
    retry = partial(lifecycle.retry, now=clock.now)
    with pytest.raises(ConflictError):
        do(database, retry)
    change(database, update_job, "job_1", status=JobStatus.SUCCEEDED)
    with pytest.raises(NothingToRetryError):
        do(database, retry)


def test_a_large_job_is_stopped_in_several_transactions(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "AT_ONCE", 3)
    add_job(database, items=8, per_chunk=2)
    add_job(database, "job_2")
    job = do(database, cancel)
    assert (job.status, job.unchunked) == (JobStatus.CANCELLING, True)
    assert (job.counts.cancelled, job.counts.pending) == (3, 5)
    job = do(database, lifecycle.continue_stop)
    assert (job.status, job.unchunked, job.counts.cancelled) == (JobStatus.CANCELLING, True, 6)
    job = do(database, lifecycle.continue_stop)
    assert (job.status, job.unchunked, job.counts.cancelled) == (JobStatus.FINALIZING, False, 8)
    assert {item.status for item in items_of(database)} == {ItemStatus.CANCELLED}
    assert job_of(database, "job_2").counts.pending == 2


def test_a_large_job_that_is_stopped_waits_for_what_was_sent(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "AT_ONCE", 1)
    add_job(database)
    send_all(database, now=clock.now)
    job = do(database, cancel)
    assert (job.status, job.unchunked, job.counts.pending) == (JobStatus.CANCELLING, False, 2)


def test_a_large_job_is_retried_in_several_transactions(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "AT_ONCE", 3)
    add_job(database, items=8)
    do(database, cancel)
    do(database, lifecycle.continue_stop)
    do(database, lifecycle.continue_stop)
    change(database, update_job, "job_1", status=JobStatus.CANCELLED, finished_at=clock.now)
    with database.write() as connection:
        retried = lock_job(connection, "job_1")
        assert lifecycle.retry(connection, retried, cancelled=True, now=clock.now) == 5
    job = job_of(database, "job_1")
    assert (job.status, job.counts.pending, job.counts.cancelled) == (JobStatus.RUNNING, 3, 5)
    assert job.reopening == Reopening(cancelled=True)
    for pending in (6, 8):
        job = do(database, go_on_retrying)
        assert (job.counts.pending, job.counts.cancelled) == (pending, 8 - pending)
    assert (job.reopening, job.unchunked) == (None, True)
    assert {item.status for item in items_of(database)} == {ItemStatus.PENDING}


def test_a_retry_opens_cancelled_items_if_asked(database: Database, clock: ManualClock) -> None:
    add_job(database)
    do(database, cancel)
    change(database, update_job, "job_1", status=JobStatus.CANCELLED, finished_at=clock.now)
    job = do(database, partial(lifecycle.retry, cancelled=True, now=clock.now))
    assert (job.status, job.stop, job.retries, job.unchunked) == (JobStatus.RUNNING, None, 1, True)
    assert {item.status for item in items_of(database)} == {ItemStatus.PENDING}
