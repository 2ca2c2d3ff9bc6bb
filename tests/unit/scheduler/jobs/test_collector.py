"""Tests of scheduler.jobs.collector."""

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import update

from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobStatus, StopReason
from nst_core.protocol.events import ChunkFinished, ChunkProgress, ChunkStarted, ItemOutcome
from scheduler.control.metrics import Metrics
from scheduler.domain.jobs import ChunkStatus
from scheduler.jobs.collector import ChunkCollector
from scheduler.jobs.item_times import ItemTimes
from scheduler.store.chunks import Chunk
from scheduler.store.database import Database
from scheduler.store.jobs import update_job
from scheduler.store.tables import chunks
from tests.unit.scheduler.kit import ManualClock, add_job, change, chunk_of, items_of, job_of, send_all

LEASE_S, BACKOFF_S = 30.0, 2.0


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def collector(database: Database, clock: ManualClock, registry: CollectorRegistry) -> ChunkCollector:
    return ChunkCollector(
        database,
        clock=clock,
        lease_s=LEASE_S,
        backoff_s=BACKOFF_S,
        item_times=ItemTimes(clock=clock),
        metrics=Metrics(registry),
    )


@pytest.fixture
def chunk(database: Database, clock: ManualClock) -> Chunk:
    """A chunk of two items that was sent."""
    add_job(database, items=2, per_chunk=2)
    (sent,) = send_all(database, now=clock.now)
    return sent


def started(chunk: Chunk) -> ChunkStarted:
    return ChunkStarted(chunk_id=chunk.id, attempt=chunk.attempt, worker="w")


def done(index: int) -> ItemOutcome:
    return ItemOutcome(index=index, ms=5, sha256="0" * 64, bytes=10, width=6, height=4)


def failed(index: int, *, retryable: bool) -> ItemOutcome:
    return ItemOutcome(index=index, ms=5, error_code="c", error_message="No.", retryable=retryable)


def finished(chunk: Chunk, *outcomes: ItemOutcome) -> ChunkFinished:
    return ChunkFinished(chunk_id=chunk.id, attempt=chunk.attempt, outcomes=outcomes)


def test_the_first_event_sets_the_chunk_running(
    collector: ChunkCollector, database: Database, chunk: Chunk, clock: ManualClock
) -> None:
    assert collector.apply(started(chunk))
    now = chunk_of(database, chunk.id)
    assert (now.status, now.worker, now.lease_until) == (ChunkStatus.RUNNING, "w", clock.now + LEASE_S)
    assert job_of(database).started_at == clock.now
    assert job_of(database).counts.running == 2


def test_progress_renews_the_lease_and_keeps_outcomes(
    collector: ChunkCollector, database: Database, chunk: Chunk, clock: ManualClock
) -> None:
    collector.apply(started(chunk))
    clock.advance(20)
    collector.apply(ChunkProgress(chunk_id=chunk.id, attempt=chunk.attempt, outcomes=(done(0),)))
    assert chunk_of(database, chunk.id).lease_until == clock.now + LEASE_S
    assert [item.status for item in items_of(database)] == [ItemStatus.SUCCEEDED, ItemStatus.RUNNING]


def test_a_job_whose_items_are_all_done_is_finalized(
    collector: ChunkCollector, database: Database, chunk: Chunk
) -> None:
    collector.apply(finished(chunk, done(0), done(1)))
    assert chunk_of(database, chunk.id).status is ChunkStatus.DONE
    assert (job_of(database).status, job_of(database).counts.succeeded) == (JobStatus.FINALIZING, 2)


def test_images_that_ended_are_counted_once(
    collector: ChunkCollector, database: Database, chunk: Chunk, registry: CollectorRegistry
) -> None:
    def count(outcome: str) -> float | None:
        return registry.get_sample_value("nst_items_total", {"method": "feedforward", "outcome": outcome})

    collector.apply(started(chunk))
    collector.apply(ChunkProgress(chunk_id=chunk.id, attempt=chunk.attempt, outcomes=(done(0),)))
    assert (count("succeeded"), count("failed")) == (1, None)
    end = finished(chunk, done(0), failed(1, retryable=False))
    for _ in range(2):
        collector.apply(end)
    assert (count("succeeded"), count("failed")) == (1, 1)
    assert registry.get_sample_value("nst_pixels_total", {"method": "feedforward"}) == 6 * 4


def test_an_event_that_comes_twice_counts_once(collector: ChunkCollector, database: Database, chunk: Chunk) -> None:
    collector.apply(started(chunk))
    progress = ChunkProgress(chunk_id=chunk.id, attempt=chunk.attempt, outcomes=(done(0),))
    for _ in range(2):
        assert collector.apply(progress)
    assert (job_of(database).counts.succeeded, job_of(database).counts.running) == (1, 1)
    assert collector.apply(finished(chunk, done(0), done(1)))
    assert not collector.apply(finished(chunk, done(0), done(1))), "it has ended"
    assert job_of(database).counts.succeeded == 2


@pytest.mark.parametrize(("chunk_offset", "attempt_offset"), [(0, 1), (0, -1), (99, 0)])
def test_outdated_and_unknown_attempts_change_nothing(
    collector: ChunkCollector, database: Database, chunk: Chunk, chunk_offset: int, attempt_offset: int
) -> None:
    event = ChunkStarted(chunk_id=chunk.id + chunk_offset, attempt=chunk.attempt + attempt_offset, worker="w")
    assert not collector.apply(event)
    assert chunk_of(database, chunk.id) == chunk


def test_a_passing_fault_is_tried_again_after_a_pause(
    collector: ChunkCollector, database: Database, chunk: Chunk, clock: ManualClock
) -> None:
    collector.apply(finished(chunk, done(0), failed(1, retryable=True)))
    now = chunk_of(database, chunk.id)
    assert (now.status, now.failures) == (ChunkStatus.PENDING, 1)
    assert [item.status for item in items_of(database)] == [ItemStatus.SUCCEEDED, ItemStatus.PENDING]
    assert send_all(database, now=clock.now + BACKOFF_S - 0.1) == []
    (second,) = send_all(database, now=clock.now + BACKOFF_S)
    assert second.attempt == chunk.attempt + 1


@pytest.mark.parametrize(("deaths", "pause_s"), [(0, 0.0), (1, LEASE_S)])
def test_a_suspect_chunk_that_a_worker_could_not_begin_leaves_its_slot_to_others_for_a_while(
    collector: ChunkCollector, database: Database, chunk: Chunk, clock: ManualClock, deaths: int, pause_s: float
) -> None:
    with database.write() as connection:
        connection.execute(update(chunks).where(chunks.c.id == chunk.id).values(deaths=deaths))
    collector.apply(finished(chunk))
    assert send_all(database, now=clock.now + pause_s - 0.1) == []
    assert len(send_all(database, now=clock.now + pause_s)) == 1


def test_the_last_attempt_fails_the_item(
    collector: ChunkCollector, database: Database, chunk: Chunk, clock: ManualClock
) -> None:
    now = chunk
    for _ in range(3):
        collector.apply(finished(now, done(0), failed(1, retryable=True)))
        clock.advance(60)
        now = next(iter(send_all(database, now=clock.now)), now)
    assert [item.status for item in items_of(database)] == [ItemStatus.SUCCEEDED, ItemStatus.FAILED]


def test_a_lasting_fault_fails_the_item_at_once(collector: ChunkCollector, database: Database, chunk: Chunk) -> None:
    collector.apply(finished(chunk, failed(0, retryable=False), done(1)))
    assert items_of(database)[0].error_code == "c"
    assert job_of(database).counts.failed == 1


def test_what_a_worker_leaves_of_a_job_that_stops_is_cancelled(
    collector: ChunkCollector, database: Database, chunk: Chunk
) -> None:
    change(database, update_job, "job_1", status=JobStatus.CANCELLING, stop=StopReason.CANCEL)
    collector.apply(finished(chunk, done(0)))
    assert [item.status for item in items_of(database)] == [ItemStatus.SUCCEEDED, ItemStatus.CANCELLED]
    assert job_of(database).status is JobStatus.FINALIZING
