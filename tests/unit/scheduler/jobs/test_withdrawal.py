"""Tests of scheduler.jobs.withdrawal."""

import pytest

from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobStatus, StopReason
from nst_core.protocol.chunks import StylizeChunk
from scheduler.jobs import lifecycle
from scheduler.jobs.dispatcher import Dispatcher
from scheduler.jobs.methods.base import Window
from scheduler.jobs.withdrawal import Withdrawer
from scheduler.store.database import Database
from scheduler.store.jobs import lock_job
from tests.unit.scheduler.kit import ManualClock, add_job, items_of, job_of
from tests.unit.scheduler.memory_broker import MemoryBroker

QUEUE = StylizeChunk.queue


@pytest.fixture
def withdrawer(database: Database, memory_broker: MemoryBroker) -> Withdrawer:
    return Withdrawer(database, memory_broker)


def send(database: Database, broker: MemoryBroker, clock: ManualClock) -> None:
    windows = {"feedforward": Window(chunks=9, lease_s=60)}
    Dispatcher(database, broker, clock=clock, bucket="nst", windows=windows).tick()


def stop(database: Database, job_id: str) -> None:
    with database.write() as connection:
        lifecycle.stop(connection, lock_job(connection, job_id), StopReason.CANCEL)


def test_a_job_that_goes_on_is_left_alone(
    withdrawer: Withdrawer, database: Database, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    job_id = add_job(database)
    send(database, memory_broker, clock)
    assert not withdrawer.tick()
    assert not memory_broker.is_cancelled(job_id)
    assert len(memory_broker.queued_chunks(QUEUE)) == 1


def test_what_no_worker_has_is_cancelled_and_the_rest_may_be_completed(
    withdrawer: Withdrawer, database: Database, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    job_id = add_job(database, items=4, per_chunk=2)
    send(database, memory_broker, clock)
    memory_broker.take(QUEUE)
    stop(database, job_id)
    assert withdrawer.tick()
    assert memory_broker.is_cancelled(job_id)
    assert [item.status for item in items_of(database)] == [ItemStatus.PENDING] * 2 + [ItemStatus.CANCELLED] * 2
    assert job_of(database).status is JobStatus.CANCELLING
    assert not withdrawer.tick()


def test_what_no_worker_has_of_a_paused_job_waits_for_its_end(
    withdrawer: Withdrawer, database: Database, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    job_id = add_job(database, items=4, per_chunk=2)
    send(database, memory_broker, clock)
    memory_broker.take(QUEUE)
    with database.write() as connection:
        lifecycle.pause(connection, lock_job(connection, job_id))
    assert withdrawer.tick()
    assert not memory_broker.is_cancelled(job_id)
    assert memory_broker.queued_chunks(QUEUE) == set()
    assert [item.status for item in items_of(database)] == [ItemStatus.PENDING] * 4
    send(database, memory_broker, clock)
    assert memory_broker.queued_chunks(QUEUE) == set()
    with database.write() as connection:
        lifecycle.resume(connection, lock_job(connection, job_id))
    send(database, memory_broker, clock)
    assert memory_broker.queued_chunks(QUEUE) == {(2, 2)}


def test_workers_are_told_again_after_redis_lost_the_hint(
    withdrawer: Withdrawer, database: Database, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    job_id = add_job(database)
    send(database, memory_broker, clock)
    stop(database, job_id)
    memory_broker.lose()
    withdrawer.tick()
    assert memory_broker.is_cancelled(job_id)
