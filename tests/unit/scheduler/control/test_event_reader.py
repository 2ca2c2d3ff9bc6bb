"""Tests of scheduler.control.event_reader."""

import logging

import pytest

from nst_core.errors import NstError
from nst_core.protocol.events import ChunkEvent, ChunkProgress, ChunkStarted, SegmentEvent, SegmentStarted
from nst_core.system.logs import Ids, current
from scheduler.control.broker import StoredEvent
from scheduler.control.event_reader import EventReader
from scheduler.control.leadership import HELD_S, Leadership
from scheduler.store.database import Database
from scheduler.store.errors import DatabaseFaultError, DatabaseUnavailableError, UnstorableError
from tests.unit.scheduler.kit import ManualClock
from tests.unit.scheduler.memory_broker import MemoryBroker

STARTED = ChunkStarted(chunk_id=1, attempt=1, worker="w")


class Applied:
    """Remembers the events that a reader applies, and fails as often as a test wants."""

    def __init__(self) -> None:
        self.events: list[ChunkEvent | SegmentEvent] = []
        self.ids: list[Ids] = []
        self.error: Exception | None = None

    def __call__(self, event: ChunkEvent | SegmentEvent) -> bool:
        if self.error is not None:
            raise self.error
        self.events.append(event)
        self.ids.append(current())
        return True


@pytest.fixture
def applied() -> Applied:
    return Applied()


@pytest.fixture
def reader(database: Database, memory_broker: MemoryBroker, clock: ManualClock, applied: Applied) -> EventReader:
    leadership = Leadership("collector", database, memory_broker, clock=clock)
    return EventReader(memory_broker, leadership, apply_chunk=applied, apply_segment=applied, clock=clock)


def test_events_are_applied_and_dropped(reader: EventReader, memory_broker: MemoryBroker, applied: Applied) -> None:
    segment = SegmentStarted(run_id="run_1", attempt=1, worker="w")
    memory_broker.publish(STARTED, segment)
    assert reader.tick(block_ms=0)
    assert applied.events == [STARTED, segment]
    assert applied.ids == [Ids(chunk_id=1, attempt=1, worker="w"), Ids(run_id="run_1", attempt=1, worker="w")]
    assert memory_broker.read_events() == []
    assert not reader.tick(block_ms=0)


def test_only_beginnings_and_ends_are_told(reader: EventReader, memory_broker: MemoryBroker) -> None:
    turns: list[None] = []
    memory_broker.publish(ChunkProgress(chunk_id=1, attempt=1))
    reader.tick(block_ms=0, on_turn=lambda: turns.append(None))
    assert turns == []
    memory_broker.publish(STARTED, STARTED)
    reader.tick(block_ms=0, on_turn=lambda: turns.append(None))
    assert len(turns) == 1


def test_it_is_known_until_when_all_was_read(
    reader: EventReader, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    memory_broker.publish(*[STARTED] * 200)
    assert [reader.known_until, reader.tick(block_ms=0), reader.known_until] == [None, True, None], "there may be more"
    known_until = [reader.known_until for _ in range(2) if not reader.tick(block_ms=0)]
    assert known_until == [clock.now] * 2
    memory_broker.hold("collector", "other", seconds=60)
    clock.advance(HELD_S)
    memory_broker.let_go("collector", "other")
    memory_broker.hold("collector", "other", seconds=60)
    assert not reader.tick(block_ms=0)
    assert reader.known_until is None, "another scheduler leads"


def test_a_forged_event_is_dropped(
    reader: EventReader, memory_broker: MemoryBroker, applied: Applied, caplog: pytest.LogCaptureFixture
) -> None:
    memory_broker.publish(STARTED, is_genuine=False)
    with caplog.at_level(logging.ERROR):
        assert reader.tick(block_ms=0)
    assert applied.events == []
    assert memory_broker.read_events() == []
    assert "not signed" in caplog.text


def test_bytes_that_are_no_event_are_dropped(
    reader: EventReader, memory_broker: MemoryBroker, applied: Applied
) -> None:
    memory_broker._events.append(StoredEvent("0-1", b"{"))
    memory_broker.publish(STARTED)
    reader.tick(block_ms=0)
    assert applied.events == [STARTED]


@pytest.mark.parametrize("error", [NstError("No."), UnstorableError("No."), OverflowError(), KeyError("bug")])
def test_an_event_that_cannot_be_applied_holds_up_no_other(
    reader: EventReader, memory_broker: MemoryBroker, applied: Applied, error: Exception
) -> None:
    applied.error = error
    memory_broker.publish(STARTED)
    assert reader.tick(block_ms=0)
    assert memory_broker.read_events() == []


def test_events_stay_while_the_database_does_not_answer(
    reader: EventReader, memory_broker: MemoryBroker, applied: Applied
) -> None:
    reader.tick(block_ms=0)
    applied.error = DatabaseUnavailableError("No.")
    memory_broker.publish(STARTED)
    with pytest.raises(DatabaseUnavailableError):
        reader.tick(block_ms=0)
    assert reader.known_until is None
    assert not reader.leadership.leads, "another scheduler may reach the database"
    applied.error = None
    assert reader.tick(block_ms=0)
    assert applied.events == [STARTED]


def test_an_event_stays_if_the_fault_is_the_databases(
    reader: EventReader, memory_broker: MemoryBroker, applied: Applied
) -> None:
    applied.error = DatabaseFaultError("column chunks.deaths does not exist")
    memory_broker.publish(STARTED)
    with pytest.raises(DatabaseFaultError):
        reader.tick(block_ms=0)
    applied.error = None
    assert reader.tick(block_ms=0)
    assert applied.events == [STARTED]
