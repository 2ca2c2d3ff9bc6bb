"""Tests of scheduler.jobs.reaper."""

import pytest
from prometheus_client import CollectorRegistry

from nst_core.client.resources.items import ItemStatus
from nst_core.protocol.events import ChunkStarted
from scheduler.control.metrics import Metrics
from scheduler.domain.codes import WORKER_LOST
from scheduler.domain.jobs import ChunkStatus
from scheduler.jobs.collector import ChunkCollector
from scheduler.jobs.item_times import ItemTimes
from scheduler.jobs.reaper import Reaper
from scheduler.store.chunks import Chunk
from scheduler.store.database import Database
from tests.unit.scheduler.kit import ManualClock, add_job, chunk_of, items_of, send_all
from tests.unit.scheduler.memory_broker import MemoryBroker

LEASE_S, LOST_AFTER_S = 60.0, 5.0


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def reaper(database: Database, memory_broker: MemoryBroker, clock: ManualClock, registry: CollectorRegistry) -> Reaper:
    return Reaper(database, memory_broker, clock=clock, lost_after_s=LOST_AFTER_S, metrics=Metrics(registry))


def losses(registry: CollectorRegistry, reason: str) -> float | None:
    """Return how many chunks were counted as lost for a reason."""
    return registry.get_sample_value("nst_leases_lost_total", {"method": "feedforward", "reason": reason})


def begin(database: Database, clock: ManualClock, *, blameless: bool = False) -> Chunk:
    """Let a worker begin the next chunk of the job."""
    collector = ChunkCollector(database, clock=clock, lease_s=LEASE_S, backoff_s=1.0, item_times=ItemTimes(clock=clock))
    (sent,) = send_all(database, now=clock.now)
    collector.apply(ChunkStarted(chunk_id=sent.id, attempt=sent.attempt, worker="w", blameless=blameless))
    return chunk_of(database, sent.id)


def test_a_worker_that_renews_its_lease_keeps_its_chunk(reaper: Reaper, database: Database, clock: ManualClock) -> None:
    add_job(database, max_attempts=2)
    begin(database, clock)
    clock.advance(LEASE_S)
    assert not reaper.tick()


def test_a_silent_worker_loses_its_chunk(reaper: Reaper, database: Database, clock: ManualClock) -> None:
    add_job(database, max_attempts=2)
    chunk = begin(database, clock)
    clock.advance(LEASE_S + 1)
    assert reaper.tick()
    now = chunk_of(database, chunk.id)
    assert (now.status, now.deaths, now.worker) == (ChunkStatus.PENDING, 1, None)
    assert {item.status for item in items_of(database)} == {ItemStatus.PENDING}


def test_a_worker_that_was_told_to_end_did_not_die_of_its_chunk(
    reaper: Reaper, database: Database, clock: ManualClock
) -> None:
    add_job(database, max_attempts=2)
    chunk = begin(database, clock, blameless=True)
    clock.advance(LEASE_S + 1)
    reaper.tick()
    assert chunk_of(database, chunk.id).deaths == 0


def test_a_chunk_that_kills_its_workers_is_halved_and_then_fails_alone(
    reaper: Reaper, database: Database, registry: CollectorRegistry, clock: ManualClock
) -> None:
    add_job(database, max_attempts=2, items=1, per_chunk=1)
    for _ in range(2):
        begin(database, clock)
        clock.advance(LEASE_S + 1)
        reaper.tick()
    (item,) = items_of(database)
    assert (item.status, item.error_code) == (ItemStatus.FAILED, WORKER_LOST)
    assert (losses(registry, "worker_silent"), losses(registry, "message_lost")) == (2, None)
    assert registry.get_sample_value("nst_items_total", {"method": "feedforward", "outcome": "failed"}) == 1


def test_a_message_that_left_the_queue_is_sent_again(
    reaper: Reaper, database: Database, clock: ManualClock, registry: CollectorRegistry
) -> None:
    add_job(database, max_attempts=2)
    (sent,) = send_all(database, now=clock.now)
    assert not reaper.tick(), "a worker may have it, and say so soon"
    clock.advance(LOST_AFTER_S)
    assert reaper.tick()
    now = chunk_of(database, sent.id)
    assert (now.status, now.deaths) == (ChunkStatus.PENDING, 0)
    assert (losses(registry, "worker_silent"), losses(registry, "message_lost")) == (None, 1)


def test_nothing_is_lost_before_the_events_are_read(reaper: Reaper, database: Database, clock: ManualClock) -> None:
    add_job(database, max_attempts=2)
    send_all(database, now=clock.now)
    known_until = clock.now
    reaper.tick(as_of=known_until)
    clock.advance(LOST_AFTER_S * 10)
    assert not reaper.tick(as_of=known_until)
    reaper.forget()
    assert not reaper.tick(), "the count begins again"
