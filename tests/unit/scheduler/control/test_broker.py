"""The broker in Redis and its double in memory behave alike."""

import inspect
from dataclasses import replace

import pytest

from nst_core.protocol.chunks import ChunkItem, OptimizeChunk, StyleRef, StylizeChunk, StylizeOptions
from nst_core.protocol.events import ChunkStarted
from nst_core.protocol.segments import TRAIN_TASK, Phase, StoredFile, TrainSegment
from nst_core.queue.connection import QueueConnection
from scheduler.control.broker import Broker
from tests import brokers
from tests.unit.scheduler.kit import ManualClock
from tests.unit.scheduler.memory_broker import MemoryBroker

CHUNK = StylizeChunk(
    job_id="job_1",
    chunk_id=7,
    attempt=1,
    items=(ChunkItem(index=0, input="s3://nst/a.jpg", output="s3://nst/out/a.jpg"),),
    style=StyleRef(name="wave", version="v", weights="s3://nst/wave"),
    options=StylizeOptions(),
)
SEGMENT = TrainSegment(
    run_id="run_1",
    attempt=2,
    phase=Phase.TRAIN,
    config={},
    painting=StoredFile(uri="s3://nst/p.jpg", sha256="0" * 64),
    photos="s3://nst/photos/",
    held_out=0,
    samples=(),
    sample_every=250,
    segment_s=60.0,
    place="s3://nst/runs/",
)
QUEUE = StylizeChunk.queue
EVENT = ChunkStarted(chunk_id=7, attempt=1, worker="w")

Both = brokers.Broker | MemoryBroker


@pytest.fixture(params=["redis", "memory"])
def both(request: pytest.FixtureRequest) -> Both:
    return request.getfixturevalue("broker") if request.param == "redis" else MemoryBroker(clock=ManualClock())


def test_the_double_replaces_all_that_uses_redis() -> None:
    names = {name for name, _ in inspect.getmembers(Broker, inspect.isfunction) if not name.startswith("_")}
    names |= {name for name, _ in inspect.getmembers(QueueConnection, inspect.isfunction) if not name.startswith("_")}
    assert len(names) > 10
    assert names <= vars(MemoryBroker).keys()


def test_unread_events_are_counted_and_have_an_age(both: Both) -> None:
    assert both.unread_events() == (0, 0.0)
    both.publish(EVENT)
    both.publish(EVENT)
    count, age_s = both.unread_events()
    assert count == 2
    assert 0 <= age_s < 60
    both.drop_events(both.read_events(block_ms=1))
    assert both.unread_events() == (0, 0.0)


def test_chunks_are_taken_in_order_and_those_ahead_first(both: Both) -> None:
    for id, ahead in ((1, False), (2, False), (3, True)):
        both.send_chunk(replace(CHUNK, chunk_id=id), ahead=ahead)
    assert both.queued_chunks(QUEUE) == {(1, 1), (2, 1), (3, 1)}
    assert both.queued_chunks(OptimizeChunk.queue) == set()
    assert [both.take(QUEUE)["chunk_id"] for _ in range(3)] == [3, 1, 2]
    assert both.take(QUEUE) is None
    assert both.queued_chunks(QUEUE) == set()


def test_segments_have_a_queue_of_their_own(both: Both) -> None:
    both.send_segment(SEGMENT)
    assert both.queued_segments() == {("run_1", 2)}
    assert both.take(QUEUE) is None
    assert both.take(TRAIN_TASK)["run_id"] == "run_1"
    assert both.queued_segments() == set()


def test_only_what_waits_can_be_withdrawn(both: Both) -> None:
    for id in (1, 2, 3):
        both.send_chunk(replace(CHUNK, chunk_id=id))
    both.take(QUEUE)
    assert both.withdraw_chunks(QUEUE, {(1, 1), (2, 1), (3, 9)}) == {(2, 1)}
    assert both.queued_chunks(QUEUE) == {(3, 1)}
    assert both.withdraw_chunks(QUEUE, set()) == set()


def test_a_newer_attempt_outdates_an_older_one(both: Both) -> None:
    assert not both.is_outdated(7, 1)
    both.send_chunk(CHUNK)
    assert not both.is_outdated(7, 1)
    both.send_chunk(replace(CHUNK, attempt=2))
    assert both.is_outdated(7, 1)
    assert not both.is_outdated(7, 2)
    both.outdate_chunk(7, 2)
    assert both.is_outdated(7, 2)


@pytest.mark.parametrize("id", [CHUNK.chunk_id, SEGMENT.run_id])
def test_an_attempt_that_is_sent_again_can_be_begun_again(broker: brokers.Broker, id: int | str) -> None:
    """A database that was restored counts its attempts from an earlier number."""

    def send() -> None:
        broker.send_chunk(replace(CHUNK, attempt=3))
        broker.send_segment(replace(SEGMENT, attempt=3))

    send()
    assert broker.claim(id, 3, "a")
    assert not broker.claim(id, 3, "b")
    send()
    assert broker.claim(id, 3, "b")


def test_workers_are_told_of_stopped_segments_and_cancelled_jobs(both: Both) -> None:
    assert not both.is_stopped("run_1", 1)
    assert not both.is_cancelled("job_1")
    both.stop_segment("run_1", 1)
    both.cancel_job("job_1")
    assert [both.is_stopped("run_1", attempt) for attempt in (1, 2)] == [True, False]
    assert both.is_cancelled("job_1")
    both.revive_job("job_1")
    assert not both.is_cancelled("job_1")


def test_a_role_has_one_holder(both: Both) -> None:
    assert both.hold("collector", "a", seconds=60)
    assert both.hold("collector", "a", seconds=60), "whoever has it keeps it"
    assert not both.hold("collector", "b", seconds=60)
    assert both.hold("other", "b", seconds=60)
    both.let_go("collector", "b")
    assert not both.hold("collector", "b", seconds=60), "only its holder gives it up"
    both.let_go("collector", "a")
    assert both.hold("collector", "b", seconds=60)


def test_events_stay_until_they_are_dropped(both: Both) -> None:
    assert both.read_events(block_ms=1) == []
    for attempt in (1, 2, 3):
        both.publish(replace(EVENT, attempt=attempt))
    first = both.read_events(limit=2, block_ms=1)
    assert len(first) == 2
    assert all(event.is_genuine for event in first)
    assert both.read_events(limit=2, block_ms=1) == first
    both.drop_events(first)
    (last,) = both.read_events(block_ms=1)
    assert last.id not in {event.id for event in first}
    assert b'"attempt":3' in last.data.replace(b" ", b"")
