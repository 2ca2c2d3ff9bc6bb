"""Tests of scheduler.control.clock_watch."""

from dataclasses import dataclass, field

import pytest

from scheduler.control.clock_watch import TOLERANCE_S, ClockWatch, LeaseTimes
from scheduler.store.database import Database
from tests.unit.scheduler.kit import ManualClock, add_job, chunk_of, send_all

TIMES = LeaseTimes(running_s=30.0, chunks_s={"feedforward": 60.0}, segments_s=3600.0)


@dataclass
class Clocks:
    """The time of day, a steady clock, and one that also counts sleep."""

    wall: ManualClock = field(default_factory=ManualClock)
    steady: ManualClock = field(default_factory=lambda: ManualClock(10.0))
    boot: ManualClock = field(default_factory=lambda: ManualClock(10.0))

    def advance(self, seconds: float) -> None:
        for clock in (self.wall, self.steady, self.boot):
            clock.advance(seconds)


@pytest.fixture
def clocks(clock: ManualClock) -> Clocks:
    return Clocks(wall=clock)


@pytest.fixture
def watch(database: Database, clocks: Clocks) -> ClockWatch:
    return ClockWatch(database, TIMES, clock=clocks.wall, timer=clocks.steady, boot_timer=clocks.boot)


def test_time_that_passes_evenly_is_no_jump(watch: ClockWatch, clocks: Clocks) -> None:
    for _ in range(100):
        clocks.advance(1)
        clocks.wall.advance(TOLERANCE_S / 2)
        assert not watch.look()


@pytest.mark.parametrize("step_s", [-3600.0, -TOLERANCE_S - 1, TOLERANCE_S + 1, 3600.0])
def test_a_clock_that_is_set_is_a_jump(watch: ClockWatch, clocks: Clocks, step_s: float) -> None:
    clocks.advance(1)
    clocks.wall.advance(step_s)
    assert watch.look()


def test_sleep_and_a_long_pause_are_jumps(watch: ClockWatch, clocks: Clocks) -> None:
    clocks.wall.advance(600)
    clocks.boot.advance(600)
    assert watch.look()
    for _ in range(2):
        watch.renew()
    assert not watch.look()
    clocks.advance(60)
    assert watch.look(), "this process stood still"


def test_leases_are_renewed_twice(watch: ClockWatch, clocks: Clocks, database: Database) -> None:
    add_job(database)
    (chunk,) = send_all(database, now=clocks.wall.now, lease_s=60.0)
    clocks.advance(1)
    clocks.wall.advance(3600)
    for _ in range(2):
        assert watch.look()
        watch.renew()
        clocks.advance(1)
    assert chunk_of(database, chunk.id).lease_until == clocks.wall.now - 1 + 60.0
    assert not watch.look()


def test_a_scheduler_that_does_not_lead_leaves_the_leases_to_another(watch: ClockWatch, clocks: Clocks) -> None:
    clocks.wall.advance(3600)
    assert watch.look()
    for _ in range(61):
        clocks.advance(1)
        jumped = watch.look()
    assert not jumped
