"""Tests of worker.runtime.pulse."""

from dataclasses import dataclass, field
from threading import Event

import pytest

from nst_core.errors import BrokerUnavailableError
from worker.runtime.pulse import Pulse

PATIENCE_S = 60.0


@dataclass
class Loop:
    """A loop that polls Redis, and a clock."""

    now: float = 1000.0
    redis_answers: bool = True
    stop: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.pulse = Pulse(self._ping, stop=self.stop, patience_s=PATIENCE_S, clock=lambda: self.now)

    def _ping(self) -> None:
        if not self.redis_answers:
            raise BrokerUnavailableError("Redis is away.")

    def is_silent_after(self, seconds: float) -> bool:
        self.now += seconds
        return self.pulse.is_silent()


@pytest.fixture
def loop() -> Loop:
    loop = Loop()
    loop.pulse.beat()
    return loop


def test_loop_that_hangs_is_detected_at_the_second_check(loop: Loop) -> None:
    assert not loop.is_silent_after(PATIENCE_S + 1)
    assert loop.is_silent_after(1)


def test_loop_that_polls_is_not_silent(loop: Loop) -> None:
    for _ in range(5):
        assert not loop.is_silent_after(PATIENCE_S - 1)
        loop.pulse.beat()


def test_process_that_was_frozen_gets_time_for_another_beat(loop: Loop) -> None:
    assert not loop.is_silent_after(10 * PATIENCE_S)
    loop.pulse.beat()
    assert not loop.is_silent_after(PATIENCE_S + 1)


def test_loop_that_waits_for_redis_is_not_silent(loop: Loop) -> None:
    loop.redis_answers = False
    for _ in range(3):
        assert not loop.is_silent_after(PATIENCE_S + 1)


def test_loop_is_not_silent_before_its_start_or_during_shutdown(loop: Loop) -> None:
    assert not Loop().is_silent_after(10 * PATIENCE_S)
    loop.stop.set()
    assert not loop.is_silent_after(10 * PATIENCE_S)
    assert not loop.is_silent_after(1)
