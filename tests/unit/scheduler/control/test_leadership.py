"""Tests of scheduler.control.leadership."""

import pytest

from scheduler.control.leadership import HELD_S, RENEW_S, Leadership
from scheduler.store.database import Database
from scheduler.store.errors import DatabaseUnavailableError
from tests.unit.scheduler.kit import ManualClock
from tests.unit.scheduler.memory_broker import MemoryBroker


def leadership(database: Database, broker: MemoryBroker, clock: ManualClock) -> Leadership:
    return Leadership("collector", database, broker, clock=clock)


def test_one_leads_and_another_takes_over_when_it_is_silent(
    database: Database, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    first, second = (leadership(database, memory_broker, clock) for _ in range(2))
    assert (first.renew(), second.renew()) == (True, False)
    clock.advance(HELD_S)
    assert second.renew()
    assert not first.renew()
    assert not first.leads


def test_the_role_is_renewed_and_not_asked_for_each_time(
    database: Database, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    first, second = (leadership(database, memory_broker, clock) for _ in range(2))
    for _ in range(10):
        assert first.renew()
        clock.advance(RENEW_S)
    assert not second.renew()
    memory_broker.lose()
    assert second.renew()
    first.renew()
    clock.advance(RENEW_S / 2)
    second.renew()
    assert second.leads


def test_the_role_is_left_at_once(database: Database, memory_broker: MemoryBroker, clock: ManualClock) -> None:
    first, second = (leadership(database, memory_broker, clock) for _ in range(2))
    first.renew()
    second.leave()
    assert not second.renew(), "only its holder leaves it"
    first.leave()
    assert second.renew()


def test_who_does_not_reach_the_database_does_not_lead(memory_broker: MemoryBroker, clock: ManualClock) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none", wait_s=0.1)
    cut_off = leadership(nowhere, memory_broker, clock)
    with pytest.raises(DatabaseUnavailableError):
        cut_off.renew()
    assert not cut_off.leads
    assert memory_broker.hold("collector", "other", seconds=1)
    nowhere.close()
