"""Clock jumps and machine sleep cost no attempt and freeze nothing."""

from dataclasses import dataclass, field

import pytest
from sqlalchemy import select

from nst_core.client.resources.events import EventType
from nst_core.protocol.chunks import StylizeChunk
from scheduler.control.clock_watch import ClockWatch, LeaseTimes
from scheduler.domain.jobs import ChunkStatus
from scheduler.domain.runs import SegmentState
from scheduler.store import chunks as chunk_rows
from scheduler.store import events as event_rows
from scheduler.store.tables import chunks
from tests.integration.conftest import (
    DISPATCH_LEASE_S,
    LEASE_S,
    LOST_AFTER_S,
    OPTIMIZE_DISPATCH_LEASE_S,
    FakeClock,
    Rig,
    finished,
    progress,
    started,
)
from tests.integration.job_kit import dispatch
from tests.integration.runs.kit import DISPATCH_LEASE_S as SEGMENT_LEASE_S
from tests.integration.runs.kit import RunRig, begun

HOUR_S = 3600.0


@dataclass
class Clocks:
    """The three clocks of a machine; the time of day is the rig's."""

    wall: FakeClock
    steady: FakeClock = field(default_factory=lambda: FakeClock(100.0))
    boot: FakeClock = field(default_factory=lambda: FakeClock(100.0))

    def go_on(self, seconds: float) -> None:
        for clock in (self.wall, self.steady, self.boot):
            clock.advance(seconds)

    def sleep(self, seconds: float) -> None:
        for clock in (self.wall, self.boot):
            clock.advance(seconds)


@pytest.fixture
def clocks(rig: Rig) -> Clocks:
    return Clocks(rig.clock)


@pytest.fixture
def watch(rig: Rig, clocks: Clocks) -> ClockWatch:
    times = LeaseTimes(
        running_s=LEASE_S,
        chunks_s={"feedforward": DISPATCH_LEASE_S, "optimize": OPTIMIZE_DISPATCH_LEASE_S},
        segments_s=SEGMENT_LEASE_S,
    )
    return ClockWatch(rig.database, times, clock=clocks.wall, timer=clocks.steady, boot_timer=clocks.boot)


def tick(rig: Rig, watch: ClockWatch, runs: RunRig | None = None) -> bool:
    """Do what the dispatch loop does about leases, and return whether it took a chunk back."""
    known_until = rig.clock()
    if watch.look():
        rig.reaper.forget()
        watch.renew()
        return False
    taken_back = rig.reaper.tick(as_of=known_until)
    return taken_back or (runs is not None and runs.control.reap(as_of=known_until))


def deaths(rig: Rig) -> list[tuple[int, int]]:
    """Return the attempts and deaths of all chunks."""
    with rig.database.read() as connection:
        rows = connection.execute(select(chunks.c.attempt, chunks.c.deaths).order_by(chunks.c.id))
        return [(row.attempt, row.deaths) for row in rows]


def in_hand(rig: Rig) -> list[StylizeChunk]:
    """Return three chunks of a job: one started by a worker, one taken but not started, and one in the queue."""
    rig.submit(12)
    rig.plan()
    rig.dispatcher.tick()
    taken = [chunk for chunk in (rig.take(), rig.take()) if chunk is not None]
    rig.report(started(taken[0]))
    return taken


@pytest.mark.parametrize("jump", ["forward", "back", "asleep", "halted"])
def test_clock_jump_costs_no_attempt(rig: Rig, clocks: Clocks, watch: ClockWatch, jump: str) -> None:
    taken = in_hand(rig)
    assert not tick(rig, watch)
    clocks.go_on(1.0)
    assert not tick(rig, watch)
    if jump == "forward":
        clocks.wall.advance(HOUR_S)
    elif jump == "back":
        clocks.wall.advance(-HOUR_S)
    elif jump == "asleep":
        clocks.sleep(HOUR_S)
    else:
        clocks.go_on(HOUR_S)
    for _ in range(4):
        clocks.go_on(1.0)
        assert not tick(rig, watch)
    rig.report(progress(taken[0], 0), started(taken[1]))
    assert deaths(rig) == [(1, 0), (1, 0), (1, 0)]
    last = rig.take()
    assert last is not None
    rig.report(started(last), *(finished(chunk) for chunk in (*taken, last)))
    rig.finalizer.tick()
    with rig.database.read() as connection:
        assert set(connection.execute(select(chunks.c.status)).scalars()) == {ChunkStatus.DONE}


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_death_of_a_worker_around_a_clock_jump_is_still_noticed(
    rig: Rig, clocks: Clocks, watch: ClockWatch, step_s: float
) -> None:
    in_hand(rig)
    tick(rig, watch)
    clocks.wall.advance(step_s)
    taken_back = []
    for _ in range(int(LEASE_S) + 10):
        clocks.go_on(1.0)
        taken_back.append(tick(rig, watch))
    assert sum(taken_back) == 2, "the one that fell silent, and the one whose message was lost"
    assert sorted(deaths(rig)) == [(1, 0), (1, 0), (1, 1)]
    first = taken_back.index(True)
    assert LOST_AFTER_S <= first + 1 <= LOST_AFTER_S + 5


def test_clock_that_steps_back_does_not_lengthen_the_pause_after_a_fault(
    rig: Rig, clocks: Clocks, watch: ClockWatch
) -> None:
    rig.submit(1)
    [chunk] = dispatch(rig)
    with rig.database.write() as connection:
        chunk_rows.set_pending(connection, chunk.chunk_id, failures=1, deaths=0, not_before=rig.clock() + 4.0)
    tick(rig, watch)
    clocks.wall.advance(-HOUR_S)
    clocks.go_on(5.0)
    tick(rig, watch)
    assert len(dispatch(rig)) == 1


def test_progress_is_reported_after_the_clock_steps_back(rig: Rig, clocks: Clocks) -> None:
    job_id = rig.submit(4)
    [chunk] = dispatch(rig)
    rig.report(started(chunk))
    clocks.go_on(2.0)
    rig.report(progress(chunk, 0))
    clocks.wall.advance(-HOUR_S)
    rig.report(progress(chunk, 1))
    with rig.database.read() as connection:
        types = [event.type for event in event_rows.events_after(connection, [(job_id, 0)], limit=100)]
    assert types.count(EventType.JOB_PROGRESS) == 2


def test_trainings_survive_a_sleep_of_the_machine(rig: Rig, clocks: Clocks, watch: ClockWatch) -> None:
    runs = RunRig(rig)
    run_id = runs.add()
    segment = runs.next()
    runs.report(begun(segment))
    tick(rig, watch, runs)
    clocks.sleep(24 * HOUR_S)
    clocks.go_on(1.0)
    for _ in range(3):
        assert not tick(rig, watch, runs)
        clocks.go_on(1.0)
    assert (runs.run(run_id).live, runs.run(run_id).failures) == (SegmentState.RUNNING, 0)
    for _ in range(2):
        clocks.go_on(12.0)
        assert not tick(rig, watch, runs)
    clocks.go_on(12.0)
    assert tick(rig, watch, runs), "its worker is not heard of for the time of a lease"
