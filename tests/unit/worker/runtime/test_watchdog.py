"""Tests of worker.runtime.watchdog."""

import logging
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event

import pytest

from nst_core.errors import BrokerUnavailableError
from worker.runtime.pulse import Pulse
from worker.runtime.watchdog import EX_TEMPFAIL, Watchdog

STUCK_S = 600.0


@dataclass
class Clock:
    """A clock that moves only when a test moves it."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Chunk:
    """A piece of work that knows when a part of it was last completed."""

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
    """A watchdog, its inputs, and a record of its actions."""

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

    def run(self, seconds: float) -> None:
        """Let time pass with a look every five seconds, as the watchdog's own thread looks."""
        until = self.clock.now + seconds
        while True:
            self.watchdog.look()
            if self.clock.now >= until:
                return
            self.clock.now = min(until, self.clock.now + 5)


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


def test_a_look_that_fails_does_not_blind_those_after_it() -> None:
    rig = Rig()

    def no_memory() -> bool:
        raise MemoryError

    watchdog = Watchdog(
        stuck_after_s=STUCK_S,
        engine_busy_s=lambda: rig.engine_busy_s,
        is_silent=no_memory,
        clock=rig.clock,
        leave=rig.codes.append,
    )
    for _ in range(200):
        rig.clock.now += 5
        rig.engine_busy_s += 5
        if not rig.codes:
            with suppress(MemoryError):
                watchdog.look()
    assert rig.codes == [EX_TEMPFAIL]


def test_work_is_stuck_when_no_part_of_it_completes_for_long(rig: Rig) -> None:
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
    # Its turn begins now.
    rig.clock.now += STUCK_S
    assert rig.watchdog.stuck() is None
    rig.clock.now += 1
    assert "second" in (rig.watchdog.stuck() or "")
    waiting.__exit__(None, None, None)


def test_each_lane_has_its_own_oldest_work(rig: Rig) -> None:
    photos, optimisation = Chunk(rig.clock), Chunk(rig.clock)
    with (
        rig.watchdog.watching(photos, lane="feedforward", label="photos"),
        rig.watchdog.watching(optimisation, lane="optimize", label="optimisation"),
    ):
        rig.clock.now += STUCK_S + 1
        photos.news_at = rig.clock.now
        assert "optimisation" in (rig.watchdog.stuck() or "")


def test_a_stuck_worker_reports_finished_items_logs_its_stacks_and_ends(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, other = Chunk(rig.clock), Chunk(rig.clock)
    with (
        caplog.at_level(logging.CRITICAL),
        rig.watchdog.watching(stuck, lane="feedforward", label="chunk 7"),
        rig.watchdog.watching(other, lane="feedforward", label="chunk 8"),
    ):
        rig.run(STUCK_S)
        assert rig.codes == []
        rig.run(1)
    assert rig.codes == [EX_TEMPFAIL] == [75]
    assert (stuck.told, other.told) == (1, 1)
    assert "chunk 7 made no progress for 601 s" in caplog.text
    assert "test_watchdog.py" in caplog.text, "the stack of this very test"


@pytest.mark.parametrize("frozen_s", [60.0, 10 * STUCK_S])
def test_a_process_that_was_frozen_has_as_much_time_left_as_before(rig: Rig, frozen_s: float) -> None:
    with rig.watchdog.watching(Chunk(rig.clock), lane="feedforward", label="chunk 7"):
        rig.run(STUCK_S - 50)
        rig.clock.now += frozen_s
        rig.run(45)
        assert rig.codes == []
        rig.run(5)
    assert rig.codes == [EX_TEMPFAIL]


def test_the_engine_of_a_process_that_was_frozen_has_time_too(rig: Rig) -> None:
    rig.engine_busy_s = 10.0
    rig.watchdog.look()
    rig.clock.now += STUCK_S
    rig.engine_busy_s += STUCK_S
    rig.watchdog.look()
    assert rig.codes == []
    rig.engine_busy_s += STUCK_S
    rig.watchdog.look()
    assert rig.codes == [EX_TEMPFAIL]


def test_work_that_hangs_after_a_freeze_has_no_more_time_than_other_work(rig: Rig) -> None:
    chunk = Chunk(rig.clock)
    with rig.watchdog.watching(chunk, lane="feedforward", label="chunk 7"):
        rig.run(10)
        rig.clock.now += 100 * STUCK_S
        chunk.news_at = rig.clock.now
        rig.clock.now += 4  # until the watchdog looks
        rig.run(STUCK_S + 5)
    assert rig.codes == [EX_TEMPFAIL]


@dataclass
class Loop:
    """Celery's loop, and a Redis that answers or not."""

    clock: Clock = field(default_factory=Clock)
    stop: Event = field(default_factory=Event)
    answers: bool = True
    pings: int = 0

    def __post_init__(self) -> None:
        self.pulse = Pulse(self._ping, stop=self.stop, patience_s=60.0, clock=self.clock)

    def _ping(self) -> None:
        self.pings += 1
        if not self.answers:
            raise BrokerUnavailableError("Redis does not answer.")


def test_worker_that_asks_for_no_messages_is_stuck(rig: Rig) -> None:
    loop = Loop()
    rig.watchdog = Watchdog(stuck_after_s=STUCK_S, engine_busy_s=lambda: 0.0, is_silent=loop.pulse.is_silent)
    loop.clock.now += 1000
    assert rig.watchdog.stuck() is None, "it has not begun"
    loop.pulse.beat()
    loop.clock.now += 59
    assert rig.watchdog.stuck() is None
    assert loop.pings == 0
    loop.clock.now += 1
    assert rig.watchdog.stuck() is None, "it may have been frozen, all of it"
    assert rig.watchdog.stuck() == "the queues are no longer polled"
    loop.pulse.beat()
    assert rig.watchdog.stuck() is None


def test_loop_that_waits_for_redis_does_not_count_as_hung() -> None:
    loop = Loop(answers=False)
    loop.pulse.beat()
    loop.clock.now += 300
    assert not loop.pulse.is_silent()
    loop.answers = True
    loop.clock.now += 59
    assert not loop.pulse.is_silent(), "Celery waits for a while before it tries again"
    loop.clock.now += 1
    assert [loop.pulse.is_silent() for _ in range(2)] == [False, True]


def test_loop_that_was_told_to_end_does_not_count_as_hung() -> None:
    loop = Loop()
    loop.pulse.beat()
    loop.stop.set()
    loop.clock.now += 300
    assert not loop.pulse.is_silent()


def test_process_ends_even_if_everything_else_fails(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("worker.runtime.watchdog.Thread.start", refuse)
    with pytest.raises(RuntimeError):
        rig.watchdog.end("ill")
    assert rig.codes == [EX_TEMPFAIL]
    assert signal.alarm(0) == 0, "the system would end it otherwise"
