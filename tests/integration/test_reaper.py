"""Only chunks of silent workers and of lost messages are taken back. A last attempt is alone on its worker."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from nst_core.protocol.chunks import StylizeChunk
from nst_core.protocol.events import ChunkProgress
from scheduler.store.tables import chunks as chunk_table
from tests.integration.conftest import (
    DISPATCH_LEASE_S,
    LEASE_S,
    LOST_AFTER_S,
    TENANT,
    Rig,
    finished,
    progress,
    started,
)
from tests.integration.job_kit import dispatch


def test_chunks_that_die_together_are_finally_tried_alone(rig: Rig) -> None:
    rig.chunk_size = 1
    rig.__post_init__()
    job_id = rig.submit(4)
    rig.plan()
    killer = 2
    for _ in range(20):
        rig.dispatcher.tick()
        taken = rig.take_all()
        if not taken:
            break
        # One worker has all chunks. If the killer is among them, the worker dies and reports nothing more.
        dies = any(item.index == killer for chunk in taken for item in chunk.items)
        rig.report(*(started(chunk) for chunk in taken))
        if not dies:
            rig.report(*(finished(chunk) for chunk in taken))
        rig.clock.advance(LEASE_S + 1)
        rig.reaper.tick()
    job = rig.job(job_id)
    assert (job.counts.succeeded, job.counts.failed) == (3, 1)
    (failed,) = (item for item in rig.service.items("default", job_id, limit=10, after=-1) if item.error_code)
    assert (failed.index, failed.error_code) == (killer, "worker_lost")


def test_a_chunk_is_not_treated_as_lost_while_events_of_its_worker_are_unread(rig: Rig) -> None:
    job_id = rig.submit(4)
    rig.plan()
    rig.events.tick(block_ms=1)
    rig.dispatcher.tick()
    (chunk,) = rig.take_all()
    assert not rig.reaper.tick(as_of=rig.events.known_until)
    rig.broker.publish(started(chunk))
    rig.broker.publish(finished(chunk))
    rig.clock.advance(LEASE_S + DISPATCH_LEASE_S)
    assert not rig.reaper.tick(as_of=rig.events.known_until), "the collector has not looked since"
    assert rig.events.tick(block_ms=1)
    assert not rig.reaper.tick(as_of=rig.events.known_until)
    assert rig.job(job_id).counts.succeeded == 4


def test_the_collector_is_not_up_to_date_while_it_reads_full_pages(rig: Rig) -> None:
    rig.submit(1)
    rig.plan()
    rig.dispatcher.tick()
    (chunk,) = rig.take_all()
    began = rig.clock.now
    assert not rig.events.tick(block_ms=1)
    for _ in range(250):
        rig.broker.publish(progress(chunk))
    rig.clock.advance(1)
    assert rig.events.tick(block_ms=1)
    assert rig.events.known_until == began
    assert rig.events.tick(block_ms=1)
    assert rig.events.known_until == rig.clock.now


def test_a_queue_counts_as_empty_only_from_the_time_of_the_look(rig: Rig) -> None:
    rig.submit(4)
    rig.plan()
    rig.dispatcher.tick()
    claimed_at = rig.clock()
    rig.clock.advance(30)
    assert len(rig.take_all()) == 1, "its worker has not been heard yet"
    assert not rig.reaper.tick(as_of=claimed_at + 12)
    rig.clock.advance(2)
    assert not rig.reaper.tick(as_of=claimed_at + 24)
    rig.clock.advance(20)
    assert rig.reaper.tick(as_of=claimed_at + 30 + LOST_AFTER_S)


def test_a_lost_message_is_noticed_although_the_queue_is_never_empty(rig: Rig) -> None:
    """A worker took the message and died before it sent an event, and the queue always has more messages."""
    job_id = rig.submit(60)
    rig.plan()
    rig.dispatcher.tick()
    lost = rig.take()
    assert lost is not None
    for _ in range(int(LOST_AFTER_S)):
        rig.dispatcher.tick()
        assert rig.broker.queued_chunks(StylizeChunk.queue)
        assert not rig.reaper.tick()
        chunk = rig.take()
        assert chunk is not None
        rig.report(started(chunk), finished(chunk))
        rig.clock.advance(1.0)
    assert rig.reaper.tick(), "it alone"
    assert not rig.reaper.tick()
    while True:
        rig.dispatcher.tick()
        chunks = rig.take_all()
        if not chunks:
            break
        for chunk in chunks:
            assert (chunk.chunk_id == lost.chunk_id) == (chunk.attempt == 2)
            rig.report(started(chunk), finished(chunk))
    assert rig.job(job_id).counts.succeeded == 60


def test_a_message_that_waits_long_is_not_treated_as_lost(rig: Rig) -> None:
    rig.submit(16)
    rig.plan()
    rig.dispatcher.tick()
    waiting = rig.broker.queued_chunks(StylizeChunk.queue)
    assert len(waiting) == 4
    for _ in range(int(DISPATCH_LEASE_S / LOST_AFTER_S)):
        rig.clock.advance(LOST_AFTER_S)
        assert not rig.reaper.tick()
    assert rig.broker.queued_chunks(StylizeChunk.queue) == waiting


def set_deaths(rig: Rig, count: int) -> None:
    """Set the number of worker deaths of all chunks."""
    with rig.database.write() as connection:
        connection.execute(update(chunk_table).values(deaths=count))


def test_last_attempts_of_several_tenants_are_sent_together_each_alone_on_its_worker(rig: Rig) -> None:
    rig.crew, rig.window = 8, 16
    rig.dispatcher = rig.new_dispatcher()
    tenants = [TENANT, *(rig.add_tenant(name) for name in ("bob", "carol", "dan"))]
    for tenant in tenants:
        rig.service.submit(tenant, rig.request(12))
    rig.plan()
    set_deaths(rig, 2)
    rig.dispatcher.tick()
    sent = rig.take_all()
    assert len(sent) == 8, "as many as there are workers"
    assert all(chunk.alone for chunk in sent)
    assert len({chunk.job_id for chunk in sent}) == 4


def test_last_attempts_of_one_tenant_leave_half_of_the_workers_to_others(rig: Rig) -> None:
    rig.crew, rig.window = 8, 16
    rig.dispatcher = rig.new_dispatcher()
    rig.submit(40)
    rig.plan()
    set_deaths(rig, 2)
    rig.dispatcher.tick()
    assert len(rig.take_all()) == 4
    bob = rig.add_tenant("bob")
    other = rig.service.submit(bob, rig.request(4))[0].id
    rig.plan()
    rig.dispatcher.tick()
    [chunk] = rig.take_all()
    assert (chunk.job_id, chunk.alone) == (other, False)


@pytest.mark.parametrize("reason", ["waits", "told to end"])
def test_silence_of_a_worker_that_the_chunk_did_not_kill_is_not_a_death(rig: Rig, reason: str) -> None:
    rig.submit(4)
    for _ in range(5):
        [chunk] = dispatch(rig)
        assert not chunk.alone
        rig.report(replace(started(chunk), blameless=reason == "waits"))
        if reason == "told to end":
            rig.report(ChunkProgress(chunk_id=chunk.chunk_id, attempt=chunk.attempt, blameless=True))
            rig.report(ChunkProgress(chunk_id=chunk.chunk_id, attempt=chunk.attempt))
        rig.clock.advance(LEASE_S + 1)
        assert rig.reaper.tick()
    # A chunk that was started after all is to blame.
    for _ in range(2):
        [chunk] = dispatch(rig)
        rig.report(replace(started(chunk), blameless=True), started(chunk))
        rig.clock.advance(LEASE_S + 1)
        assert rig.reaper.tick()
    [chunk] = dispatch(rig)
    assert chunk.alone
