"""A stop ends only items that no worker has. No item is cancelled while a worker may still finish it."""

from collections.abc import Collection, Iterator

import pytest
from redis import Redis
from sqlalchemy import event, text

from nst_core.client.resources.jobs import JobStatus
from nst_core.errors import BrokerUnavailableError
from nst_core.protocol.chunks import StylizeChunk
from nst_core.protocol.events import ItemOutcome
from nst_core.queue.connection import make_redis, queue_lists
from nst_core.settings import BrokerSettings
from scheduler.jobs.expiry import Expirer
from scheduler.jobs.withdrawal import Withdrawer
from scheduler.local.servers import HOST, free_port
from scheduler.store import chunks as chunk_rows
from tests.brokers import Broker
from tests.integration.conftest import LEASE_S, LOST_AFTER_S, TENANT, Rig, finished, outcome, started

LISTS = queue_lists(StylizeChunk.queue)


@pytest.fixture
def redis(redis_server: BrokerSettings) -> Iterator[Redis]:
    client = make_redis(redis_server)
    yield client
    client.close()


def sent(rig: Rig, photos: int, **changes: object) -> str:
    """Submit a job and fill the window of four chunks of four photos with it."""
    job_id = rig.submit(photos, **changes)
    rig.plan()
    rig.dispatcher.tick()
    return job_id


def taken(rig: Rig) -> StylizeChunk:
    chunk = rig.take()
    assert chunk is not None
    return chunk


def end(rig: Rig, job_id: str) -> JobStatus:
    rig.finalizer.tick()
    return rig.job(job_id).status


def test_cancelled_job_that_no_worker_has_ends_at_once(rig: Rig) -> None:
    job_id = sent(rig, 40)
    rig.service.cancel(TENANT, job_id)
    assert rig.job(job_id).counts.pending == 16, "whether a worker has them is not known yet"
    assert rig.withdrawer.tick()
    assert end(rig, job_id) is JobStatus.CANCELLED
    assert rig.job(job_id).counts.cancelled == 40
    assert rig.take_all() == []
    assert not rig.withdrawer.tick(), "once is enough"


def test_optimisations_that_no_worker_has_are_withdrawn_from_their_own_queue(rig: Rig) -> None:
    options = {"method": "optimize", "styles": (), "paintings": (f"s3://nst/{rig.prefix}/p.jpg",)}
    job_id = sent(rig, 3, **options)
    rig.service.cancel(TENANT, job_id)
    rig.withdrawer.tick()
    assert end(rig, job_id) is JobStatus.CANCELLED
    assert rig.take_optimize() is None


def test_chunk_taken_by_a_worker_ends_as_the_worker_reports(rig: Rig) -> None:
    job_id = sent(rig, 40)
    chunk = taken(rig)
    rig.service.cancel(TENANT, job_id)
    assert rig.withdrawer.tick()
    job = rig.job(job_id)
    assert (job.status, job.counts.pending, job.counts.cancelled) == (JobStatus.CANCELLING, 4, 36)
    made = chunk.items[0].index
    rig.report(started(chunk), finished(chunk, lambda index: outcome(index) if index == made else None))
    assert end(rig, job_id) is JobStatus.CANCELLED
    job = rig.job(job_id)
    assert (job.counts.succeeded, job.counts.cancelled) == (1, 39)


def test_stop_is_announced_before_a_message_is_withdrawn(rig: Rig, redis_server: BrokerSettings) -> None:
    class Watching(Broker):
        told = False

        def withdraw_chunks(self, queue: str, attempts: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
            self.told = self.is_cancelled(job_id)
            return super().withdraw_chunks(queue, attempts)

    job_id = sent(rig, 4)
    rig.service.cancel(TENANT, job_id)
    broker = Watching(redis_server)
    Withdrawer(rig.database, broker).tick()
    broker.close()
    assert broker.told


def test_messages_of_other_jobs_stay_in_the_queue_unchanged(rig: Rig, redis: Redis) -> None:
    other = sent(rig, 8)
    before = [redis.lrange(key, 0, -1) for key in LISTS]
    cancelled = sent(rig, 8)
    rig.service.cancel(TENANT, cancelled)
    rig.withdrawer.tick()
    assert [redis.lrange(key, 0, -1) for key in LISTS] == before
    assert end(rig, cancelled) is JobStatus.CANCELLED
    rig.run_to_end()
    assert rig.job(other).status is JobStatus.SUCCEEDED


def test_redelivered_message_does_not_prove_that_its_chunk_was_not_started(rig: Rig) -> None:
    """A worker that loses Redis continues its chunk while kombu puts the message back into the queue."""
    job_id = sent(rig, 4)
    with rig.broker.celery.connection() as connection:
        channel = connection.default_channel
        queue = connection.SimpleQueue(StylizeChunk.queue)
        queue.get(block=False)
        channel.qos.restore_unacked_once()
        queue.close()
    assert rig.broker.queued(StylizeChunk.queue) == 1
    rig.service.cancel(TENANT, job_id)
    assert not rig.withdrawer.tick()
    assert rig.broker.queued(StylizeChunk.queue) == 0, "nobody else is to begin it"
    assert rig.job(job_id).counts.pending == 4
    lose(rig)
    assert end(rig, job_id) is JobStatus.CANCELLED


def test_foreign_message_in_the_queue_delays_nothing(rig: Rig, redis: Redis) -> None:
    for strange in (b"no JSON", b"{}", b"[]"):
        redis.rpush(LISTS[0], strange)
    job_id = sent(rig, 8)
    rig.service.cancel(TENANT, job_id)
    assert rig.withdrawer.tick()
    assert end(rig, job_id) is JobStatus.CANCELLED
    redis.delete(*LISTS)


def test_stop_is_announced_again_after_redis_lost_it(rig: Rig, redis: Redis) -> None:
    job_id = sent(rig, 8)
    rig.report(started(taken(rig)))
    rig.service.cancel(TENANT, job_id)
    rig.withdrawer.tick()
    redis.flushall()
    rig.withdrawer.tick()
    assert rig.broker.is_cancelled(job_id)


def test_chunk_that_ended_while_its_worker_was_frozen_is_outdated(rig: Rig) -> None:
    job_id = sent(rig, 4)
    chunk = taken(rig)
    rig.report(started(chunk))
    rig.service.cancel(TENANT, job_id)
    rig.clock.advance(LEASE_S + 1)
    assert not rig.broker.is_outdated(chunk.chunk_id, chunk.attempt)
    assert rig.reaper.tick()
    assert end(rig, job_id) is JobStatus.CANCELLED
    assert rig.broker.is_outdated(chunk.chunk_id, chunk.attempt)


def lose(rig: Rig) -> None:
    """Let so much time pass that a missing message counts as lost."""
    rig.reaper.tick()
    rig.clock.advance(LOST_AFTER_S)
    assert rig.reaper.tick()


def test_lost_chunk_is_taken_back_only_after_a_while(rig: Rig) -> None:
    job_id = sent(rig, 4)
    taken(rig)
    rig.clock.advance(LEASE_S)
    rig.service.cancel(TENANT, job_id)
    rig.withdrawer.tick()
    assert not rig.reaper.tick(), "however long ago it was sent, a worker may have taken it just now"
    rig.clock.advance(LOST_AFTER_S - 1)
    assert not rig.reaper.tick()
    rig.clock.advance(1)
    assert rig.reaper.tick()
    assert end(rig, job_id) is JobStatus.CANCELLED


def test_chunk_is_not_treated_as_lost_while_events_of_its_worker_are_unread(rig: Rig) -> None:
    job_id = sent(rig, 4)
    rig.events.tick(block_ms=1)
    chunk = taken(rig)
    rig.broker.publish(started(chunk))
    rig.clock.advance(1)
    rig.service.cancel(TENANT, job_id)
    for _ in range(3):
        assert not rig.reaper.tick(as_of=rig.events.known_until)
        rig.clock.advance(LOST_AFTER_S)
    rig.report()
    assert not rig.reaper.tick(as_of=rig.events.known_until)
    rig.report(finished(chunk))
    assert rig.job(job_id).counts.succeeded == 4


def test_scheduler_that_dies_between_queue_and_database_leaves_nothing_behind(rig: Rig) -> None:
    job_id = sent(rig, 8)
    rig.service.cancel(TENANT, job_id)
    with rig.database.read() as connection:
        unwanted = {(chunk.id, chunk.attempt) for chunk in chunk_rows.unwanted(connection)}
    assert rig.broker.withdraw_chunks(StylizeChunk.queue, unwanted) == unwanted  # the process dies here
    assert not rig.withdrawer.tick()
    assert rig.job(job_id).status is JobStatus.CANCELLING
    lose(rig)
    assert end(rig, job_id) is JobStatus.CANCELLED


def test_message_sent_by_another_scheduler_after_the_stop_is_withdrawn_too(rig: Rig) -> None:
    job_id = rig.submit(8)
    rig.plan()
    late = rig.dispatcher._claim(job_id)
    assert late is not None
    rig.service.cancel(TENANT, job_id)
    assert not rig.withdrawer.tick()
    assert rig.job(job_id).counts.pending == 4
    rig.broker.send_chunk(late)
    assert rig.withdrawer.tick()
    assert end(rig, job_id) is JobStatus.CANCELLED


def test_too_many_failures_and_deadlines_withdraw_messages_too(rig: Rig) -> None:
    failing = sent(rig, 8, max_failures=0)
    chunk = taken(rig)
    failure = ItemOutcome(index=0, ms=1, error_code="image_undecodable", error_message="No.")
    rig.report(started(chunk), finished(chunk, lambda index: failure if index == 0 else outcome(index)))
    expiring = sent(rig, 8, expires_after_s=60.0)
    rig.clock.advance(60)
    Expirer(rig.database, clock=rig.clock).tick()
    assert [rig.job(each).counts.pending for each in (failing, expiring)] == [4, 8]
    rig.withdrawer.tick()
    assert [end(rig, each) for each in (failing, expiring)] == [JobStatus.FAILED, JobStatus.EXPIRED]


def test_job_cancelled_while_redis_is_down_ends_when_redis_returns(rig: Rig) -> None:
    job_id = sent(rig, 8)
    away = Broker(BrokerSettings.model_validate({"redis_url": f"redis://{HOST}:{free_port()}/0"}), patient=False)
    rig.service.cancel(TENANT, job_id)
    cut_off = Withdrawer(rig.database, away)
    with pytest.raises(BrokerUnavailableError):
        cut_off.tick()
    away.close()
    assert rig.job(job_id).status is JobStatus.CANCELLING
    rig.withdrawer.tick()
    assert end(rig, job_id) is JobStatus.CANCELLED


def test_stop_of_a_large_job_needs_one_update_of_its_items(rig: Rig) -> None:
    rig.page, rig.chunk_size = 200, 50
    rig.__post_init__()
    statements: list[str] = []
    job_id = sent(rig, 1000)
    event.listen(rig.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    rig.service.cancel(TENANT, job_id)
    assert sum("UPDATE items" in each for each in statements) == 1
    assert rig.job(job_id).counts.cancelled == 800


def chunks_of(rig: Rig) -> list[tuple[str, int, int, int]]:
    with rig.database.read() as connection:
        rows = connection.execute(text("SELECT status, attempt, failures, deaths FROM chunks ORDER BY id"))
        return [tuple(row) for row in rows]


def test_paused_job_gives_workers_nothing_that_they_have_not_taken(rig: Rig) -> None:
    other, job_id = sent(rig, 4), sent(rig, 12)
    begun = [taken(rig), taken(rig)]  # one of each job
    rig.report(*(started(chunk) for chunk in begun))
    rig.service.pause(TENANT, job_id)
    assert rig.withdrawer.tick()
    assert rig.take_all() == []
    assert not rig.broker.is_cancelled(job_id), "what a worker has is completed"
    assert not rig.withdrawer.tick(), "once is enough"
    rig.dispatcher.tick()
    assert rig.take_all() == []
    rig.report(*(finished(chunk) for chunk in begun))
    job = rig.job(job_id)
    assert (job.status, job.counts.succeeded, job.counts.pending) == (JobStatus.PAUSED, 4, 8)
    assert chunks_of(rig)[2:] == [("pending", 1, 0, 0)] * 2
    rig.finalizer.tick()
    assert rig.job(other).status is JobStatus.SUCCEEDED
    rig.service.resume(TENANT, job_id)
    rig.run_to_end()
    job = rig.job(job_id)
    assert (job.status, job.counts.succeeded) == (JobStatus.SUCCEEDED, 12)
    assert chunks_of(rig)[2:] == [("done", 2, 0, 0)] * 2, "no attempt counts as failed"


def test_chunk_taken_by_a_worker_before_the_pause_is_seen_is_left_to_it(rig: Rig) -> None:
    job_id = sent(rig, 4)
    chunk = taken(rig)
    rig.service.pause(TENANT, job_id)
    assert not rig.withdrawer.tick()
    rig.report(started(chunk), finished(chunk))
    assert end(rig, job_id) is JobStatus.SUCCEEDED


def test_chunk_of_a_paused_job_waits_although_the_scheduler_dies_after_it_took_the_message(rig: Rig) -> None:
    job_id = sent(rig, 4)
    rig.service.pause(TENANT, job_id)
    with rig.database.read() as connection:
        unwanted = {(chunk.id, chunk.attempt) for chunk in chunk_rows.unwanted(connection)}
    assert rig.broker.withdraw_chunks(StylizeChunk.queue, unwanted) == unwanted  # the process dies here
    assert not rig.withdrawer.tick()
    lose(rig)
    assert chunks_of(rig) == [("pending", 1, 0, 0)]
    rig.service.resume(TENANT, job_id)
    rig.run_to_end()
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("change", ["resume", "cancel"])
def test_job_that_is_changed_while_its_messages_are_withdrawn_loses_nothing(
    rig: Rig, redis_server: BrokerSettings, change: str
) -> None:
    class Meanwhile(Broker):
        def withdraw_chunks(self, queue: str, attempts: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
            withdrawn = super().withdraw_chunks(queue, attempts)
            if withdrawn:
                getattr(rig.service, change)(TENANT, job_id)
            return withdrawn

    job_id = sent(rig, 8)
    rig.service.pause(TENANT, job_id)
    broker = Meanwhile(redis_server)
    Withdrawer(rig.database, broker).tick()
    broker.close()
    rig.run_to_end()
    job = rig.job(job_id)
    expected = (JobStatus.SUCCEEDED, 8, 0) if change == "resume" else (JobStatus.CANCELLED, 0, 8)
    assert (job.status, job.counts.succeeded, job.counts.cancelled) == expected


def test_chunk_started_from_a_second_message_is_left_to_its_worker(rig: Rig) -> None:
    job_id = sent(rig, 4)
    chunk = taken(rig)
    with rig.database.read() as connection:
        before = chunk_rows.find_chunk(connection, chunk.chunk_id)
    assert before is not None
    rig.service.cancel(TENANT, job_id)
    rig.report(started(chunk))
    rig.withdrawer._take_back(before)
    assert rig.job(job_id).counts.running == 4
