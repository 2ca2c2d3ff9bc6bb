"""Tests of scheduler.jobs.backlog."""

import pytest

from nst_core.client.resources.jobs import JobStatus
from nst_core.client.resources.runs import RunStatus
from nst_core.protocol.chunks import Region, StylizeOptions
from nst_core.protocol.events import (
    ChunkFinished,
    ChunkStarted,
    ItemOutcome,
    Result,
    SegmentFailure,
    SegmentFinished,
)
from nst_core.protocol.segments import StoredFile
from scheduler.jobs.backlog import Backlog, BacklogReader
from scheduler.jobs.collector import ChunkCollector
from scheduler.jobs.item_times import ItemTimes
from scheduler.runs.collector import RunCollector
from scheduler.store.database import Database
from scheduler.store.jobs import update_job
from scheduler.store.runs import claim, lock_run, update_run
from tests.unit.scheduler.kit import STYLE, ManualClock, add_job, add_run, change, job_of, run_of, send_all

#: A first chunk has 16 images in 60 seconds.
GUESS_S = 60 / 16
SEGMENT_S = 60.0


@pytest.fixture
def item_times(clock: ManualClock) -> ItemTimes:
    return ItemTimes(clock=clock)


@pytest.fixture
def reader(item_times: ItemTimes, clock: ManualClock) -> BacklogReader:
    return BacklogReader(item_times, clock=clock, segment_s=SEGMENT_S)


def read(reader: BacklogReader, database: Database) -> Backlog:
    with database.read() as connection:
        return reader.read(connection)


def test_nothing_waits_in_a_new_database(reader: BacklogReader, database: Database) -> None:
    backlog = read(reader, database)
    assert backlog.queues.keys() == {"feedforward", "optimize", "train"}
    for queue in backlog.queues.values():
        assert (queue.queued, queue.running, queue.paused, queue.work_s, queue.oldest_s) == (0, 0, 0, 0.0, 0.0)
    assert not backlog.jobs


def test_images_wait_until_a_worker_begins_their_chunk(
    reader: BacklogReader, database: Database, item_times: ItemTimes, clock: ManualClock
) -> None:
    add_job(database, items=5, per_chunk=2)
    clock.advance(30)
    queue = read(reader, database).queues["feedforward"]
    assert (queue.queued, queue.running, queue.oldest_s) == (5, 0, 30)
    assert queue.work_s == pytest.approx(5 * GUESS_S)
    sent = send_all(database, now=clock.now)
    collector = ChunkCollector(database, clock=clock, lease_s=30, backoff_s=1, item_times=item_times)
    collector.apply(ChunkStarted(chunk_id=sent[0].id, attempt=1, worker="w"))
    queue = read(reader, database).queues["feedforward"]
    assert (queue.queued, queue.running, queue.oldest_s) == (3, 2, 0)
    assert queue.work_s == pytest.approx(5 * GUESS_S)


def test_work_follows_from_the_times_of_images_that_are_done(
    reader: BacklogReader, database: Database, item_times: ItemTimes, clock: ManualClock
) -> None:
    add_job(database, items=4, per_chunk=2)
    (first, _) = send_all(database, now=clock.now)
    collector = ChunkCollector(database, clock=clock, lease_s=30, backoff_s=1, item_times=item_times)
    done = (ItemOutcome(index=0, ms=1500), ItemOutcome(index=1, ms=2500))
    collector.apply(ChunkFinished(chunk_id=first.id, attempt=1, outcomes=done))
    assert read(reader, database).queues["feedforward"].work_s == pytest.approx(2 * 2.0)


def test_work_in_regions_is_measured_by_the_style(
    reader: BacklogReader, database: Database, item_times: ItemTimes, clock: ManualClock
) -> None:
    add_job(database, items=4, per_chunk=2, options=StylizeOptions(regions=(Region(style=STYLE),) * 2))
    (first, _) = send_all(database, now=clock.now)
    collector = ChunkCollector(database, clock=clock, lease_s=30, backoff_s=1, item_times=item_times)
    done = (ItemOutcome(index=0, ms=1500), ItemOutcome(index=1, ms=2500))
    collector.apply(ChunkFinished(chunk_id=first.id, attempt=1, outcomes=done))
    assert read(reader, database).queues["feedforward"].work_s == pytest.approx(2 * 2.0, rel=1e-3)
    add_job(database, "job_2", items=3)
    plain = job_of(database, "job_2").spec
    spec = job_of(database).spec
    with database.read() as connection:
        assert item_times.estimate_s(connection, plain, {STYLE.name: 3}) == pytest.approx(2.0, rel=1e-3)
        assert item_times.estimate_s(connection, spec, {STYLE.name: 3}) == pytest.approx(6.0, rel=1e-3)
        assert item_times.sizes(connection, plain, items=None) == {STYLE.name: 90}
        assert item_times.sizes(connection, spec, items=None) == {STYLE.name: 30}


def test_paused_jobs_make_no_work_and_do_not_age(reader: BacklogReader, database: Database, clock: ManualClock) -> None:
    add_job(database, items=3)
    change(database, update_job, "job_1", status=JobStatus.PAUSED)
    clock.advance(30)
    backlog = read(reader, database)
    queue = backlog.queues["feedforward"]
    assert (queue.queued, queue.paused, queue.work_s, queue.oldest_s) == (0, 3, 0.0, 0.0)
    assert backlog.jobs == {("feedforward", JobStatus.PAUSED): 1}


def test_a_job_that_is_not_planned_ages_too(reader: BacklogReader, database: Database, clock: ManualClock) -> None:
    add_job(database, items=1)
    change(database, update_job, "job_1", status=JobStatus.QUEUED, planned=False)
    clock.advance(700)
    assert read(reader, database).queues["feedforward"].oldest_s == 700


def test_jobs_that_have_ended_are_left_out(reader: BacklogReader, database: Database) -> None:
    add_job(database, items=3)
    change(database, update_job, "job_1", status=JobStatus.SUCCEEDED)
    backlog = read(reader, database)
    assert (backlog.queues["feedforward"].queued, len(backlog.jobs)) == (0, 0)


def work(
    database: Database,
    clock: ManualClock,
    run_id: str = "run_1",
    *,
    step: int,
    seconds: float,
    failure: SegmentFailure | None = None,
) -> None:
    """Let a worker end a segment of a run after some time: with a checkpoint of a step, with a result, or failed."""
    with database.write() as connection:
        found = lock_run(connection, run_id)
        assert found is not None
        attempt = claim(connection, found, now=clock.now, lease_until=clock.now + 60)
    evaluates = found.has_all_steps and failure is None
    file = StoredFile(uri="s3://nst/c", sha256="c" * 64)
    end = SegmentFinished(
        run_id=run_id,
        attempt=attempt,
        worker="w",
        step=step,
        seconds=seconds,
        checkpoint=None if evaluates or failure else file,
        result=Result(weights=file, sheet="s3://nst/s", evaluation={}) if evaluates else None,
        failure=failure,
    )
    assert RunCollector(database, clock=clock, lease_s=30).apply(end)


def test_trainings_are_a_queue_of_their_own(reader: BacklogReader, database: Database, clock: ManualClock) -> None:
    add_run(database, "run_1", steps=1000)
    queue = read(reader, database).queues["train"]
    assert (queue.queued, queue.running, queue.oldest_s) == (1, 0, clock.now - 1.0)
    assert queue.work_s == SEGMENT_S, "how long a step takes is not known"
    work(database, clock, step=200, seconds=100.0)
    assert run_of(database).status is RunStatus.RUNNING
    queue = read(reader, database).queues["train"]
    assert (queue.queued, queue.running, queue.oldest_s) == (0, 1, 0)
    assert queue.work_s == pytest.approx(800 * 0.5)
    add_run(database, "run_2", steps=300)
    assert read(reader, database).queues["train"].work_s == pytest.approx(800 * 0.5 + 300 * 0.5)
    change(database, update_run, "run_2", status=RunStatus.PAUSED)
    work(database, clock, step=1000, seconds=400.0)
    queue = read(reader, database).queues["train"]
    assert (queue.running, queue.paused, queue.work_s) == (1, 1, SEGMENT_S), "the evaluation is a segment"


def test_only_segments_that_train_tell_how_long_a_step_takes(
    reader: BacklogReader, database: Database, clock: ManualClock
) -> None:
    add_run(database, "run_1", steps=200)
    broken = SegmentFailure(code="c", message="No.", retryable=True)
    work(database, clock, step=0, seconds=60.0, failure=broken)
    assert read(reader, database).queues["train"].work_s == SEGMENT_S
    work(database, clock, step=200, seconds=100.0)
    work(database, clock, step=200, seconds=900.0)
    change(database, update_run, "run_1", status=RunStatus.RUNNING, steps=1000)  # it was extended
    add_run(database, "run_2", steps=300)
    assert run_of(database).train_seconds == 60.0 + 100.0 + 900.0
    assert read(reader, database).queues["train"].work_s == pytest.approx(800 * 0.5 + 300 * 0.5)


def test_jobs_that_are_new_since_the_last_look_count_too(reader: BacklogReader, database: Database) -> None:
    add_job(database, "job_1", items=2)
    first = read(reader, database).queues["feedforward"].work_s
    add_job(database, "job_2", items=2)
    assert read(reader, database).queues["feedforward"].work_s == pytest.approx(2 * first)
