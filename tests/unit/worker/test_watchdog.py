"""Tests of worker.watchdog."""

import logging
from dataclasses import dataclass, field

import pytest

from worker.watchdog import EX_TEMPFAIL, Watchdog

STUCK_S = 600.0


@dataclass
class Clock:
    """A clock that stands still until it is told otherwise."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Chunk:
    """A piece of work that tells when something of it was completed last."""

    clock: Clock
    news_at: float = field(init=False)
    told: int = 0

    def __post_init__(self) -> None:
        self.news_at = self.clock()

    @property
    def idle_s(self) -> float:
        return self.clock() - self.news_at

    def tick(self) -> None:
        self.told += 1


@dataclass
class Rig:
    """A watchdog, and what it sees and does."""

    clock: Clock = field(default_factory=Clock)
    engine_busy_s: float = 0.0
    codes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watchdog = Watchdog(
            stuck_after_s=STUCK_S,
            engine_busy_s=lambda: self.engine_busy_s,
            clock=self.clock,
            leave=self.codes.append,
        )


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_an_idle_worker_is_never_stuck(rig: Rig) -> None:
    rig.clock.now += 10 * STUCK_S
    assert rig.watchdog.stuck() is None


def test_one_call_of_the_engine_that_does_not_end_is_stuck(rig: Rig) -> None:
    rig.engine_busy_s = STUCK_S
    assert rig.watchdog.stuck() is None
    rig.engine_busy_s = STUCK_S + 1
    assert "the engine" in (rig.watchdog.stuck() or "")


def test_work_is_stuck_when_nothing_of_it_is_completed_for_long(rig: Rig) -> None:
    chunk = Chunk(rig.clock)
    with rig.watchdog.watching(chunk, lane="feedforward", label="chunk 7"):
        rig.clock.now += STUCK_S - 1
        chunk.news_at = rig.clock.now
        rig.clock.now += STUCK_S
        assert rig.watchdog.stuck() is None
        rig.clock.now += 1
        assert "chunk 7" in (rig.watchdog.stuck() or "")
    assert rig.watchdog.stuck() is None


def test_work_that_waits_for_its_turn_is_not_stuck(rig: Rig) -> None:
    first, second = Chunk(rig.clock), Chunk(rig.clock)
    with rig.watchdog.watching(second, lane="optimize", label="another lane"):
        pass
    waiting = rig.watchdog.watching(second, lane="feedforward", label="second")
    with rig.watchdog.watching(first, lane="feedforward", label="first"):
        waiting.__enter__()
        rig.clock.now += 2 * STUCK_S
        first.news_at = rig.clock.now
        assert rig.watchdog.stuck() is None
    # Its turn began now.
    rig.clock.now += STUCK_S
    assert rig.watchdog.stuck() is None
    rig.clock.now += 1
    assert "second" in (rig.watchdog.stuck() or "")
    waiting.__exit__(None, None, None)


def test_each_lane_has_an_oldest_work_of_its_own(rig: Rig) -> None:
    photos, optimisation = Chunk(rig.clock), Chunk(rig.clock)
    with (
        rig.watchdog.watching(photos, lane="feedforward", label="photos"),
        rig.watchdog.watching(optimisation, lane="optimize", label="optimisation"),
    ):
        rig.clock.now += STUCK_S + 1
        photos.news_at = rig.clock.now
        assert "optimisation" in (rig.watchdog.stuck() or "")


def test_a_stuck_worker_tells_what_it_has_logs_its_stacks_and_ends(
    rig: Rig, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    stuck, other = Chunk(rig.clock), Chunk(rig.clock)
    with (
        caplog.at_level(logging.CRITICAL),
        rig.watchdog.watching(stuck, lane="feedforward", label="chunk 7"),
        rig.watchdog.watching(other, lane="feedforward", label="chunk 8"),
    ):
        rig.watchdog.look()
        assert rig.codes == []
        rig.clock.now += STUCK_S + 1
        rig.watchdog.look()
    assert rig.codes == [EX_TEMPFAIL] == [75]
    assert (stuck.told, other.told) == (1, 1)
    assert "nothing of chunk 7 was completed for 601 s" in caplog.text
    assert "test_watchdog.py" in capfd.readouterr().err, "the stack of this very test"
