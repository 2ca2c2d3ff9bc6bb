"""Tests of scheduler.jobs.dispatcher."""

import pytest
from prometheus_client import CollectorRegistry

from nst_core.client.resources.jobs import JobStatus, Priority
from nst_core.protocol.chunks import StylizeChunk, load_chunk
from scheduler.control.metrics import Metrics
from scheduler.domain.jobs import ChunkStatus
from scheduler.jobs.dispatcher import Dispatcher
from scheduler.jobs.methods.base import Window
from scheduler.store.database import Database
from scheduler.store.jobs import update_job
from tests.unit.scheduler.kit import ManualClock, add_job, change, chunk_of, send_all
from tests.unit.scheduler.memory_broker import MemoryBroker

LEASE_S = 60.0
QUEUE = StylizeChunk.queue


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def dispatcher(
    database: Database, memory_broker: MemoryBroker, clock: ManualClock, registry: CollectorRegistry
) -> Dispatcher:
    windows = {"feedforward": Window(chunks=2, lease_s=LEASE_S)}
    return Dispatcher(database, memory_broker, clock=clock, bucket="nst", windows=windows, metrics=Metrics(registry))


def taken(broker: MemoryBroker) -> list[StylizeChunk]:
    """Return all messages in the queue, taken from it."""
    return [load_chunk(StylizeChunk, values) for values in iter(lambda: broker.take(QUEUE), None)]


def test_nothing_is_sent_without_a_job(dispatcher: Dispatcher) -> None:
    assert not dispatcher.tick()


def test_the_window_limits_what_is_sent(
    dispatcher: Dispatcher,
    database: Database,
    memory_broker: MemoryBroker,
    clock: ManualClock,
    registry: CollectorRegistry,
) -> None:
    add_job(database, items=6, per_chunk=2)
    assert dispatcher.tick()
    first, second = taken(memory_broker)
    assert [[item.index for item in chunk.items] for chunk in (first, second)] == [[0, 1], [2, 3]]
    assert first.attempt == 1
    chunk = chunk_of(database, first.chunk_id)
    assert (chunk.status, chunk.lease_until) == (ChunkStatus.DISPATCHED, clock.now + LEASE_S)
    assert not dispatcher.tick(), "the window is full until workers begin"
    assert registry.get_sample_value("nst_attempts_total", {"method": "feedforward"}) == 2


def test_tenants_share_the_window(dispatcher: Dispatcher, database: Database, memory_broker: MemoryBroker) -> None:
    add_job(database, "job_1", items=8, tenant="a")
    add_job(database, "job_2", items=2, tenant="b")
    dispatcher.tick()
    assert {chunk.job_id for chunk in taken(memory_broker)} == {"job_1", "job_2"}


def test_a_higher_priority_comes_first(dispatcher: Dispatcher, database: Database, memory_broker: MemoryBroker) -> None:
    add_job(database, "job_1", items=4, priority=Priority.LOW)
    add_job(database, "job_2", items=4, priority=Priority.HIGH)
    dispatcher.tick()
    assert taken(memory_broker)[0].job_id == "job_2"


def test_a_paused_job_sends_nothing(dispatcher: Dispatcher, database: Database) -> None:
    job_id = add_job(database)
    change(database, update_job, job_id, status=JobStatus.PAUSED)
    assert not dispatcher.tick()


def test_a_retried_job_is_not_cancelled_any_more(
    dispatcher: Dispatcher, database: Database, memory_broker: MemoryBroker
) -> None:
    job_id = add_job(database)
    memory_broker.cancel_job(job_id)
    change(database, update_job, job_id, retries=1)
    dispatcher.tick()
    assert not memory_broker.is_cancelled(job_id)


def test_what_another_scheduler_has_claimed_is_not_sent(
    dispatcher: Dispatcher, database: Database, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    add_job(database, items=2)
    send_all(database, now=clock.now)
    assert not dispatcher.tick()
    assert taken(memory_broker) == []
