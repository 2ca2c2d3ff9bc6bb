"""Tests of scheduler.control.lost_messages."""

import pytest

from scheduler.control.lost_messages import LostMessages, reason
from tests.unit.scheduler.kit import ManualClock


def test_a_message_is_lost_when_it_was_missed_for_some_time() -> None:
    clock = ManualClock(100.0)
    lost = LostMessages[int](clock=clock, lost_after_s=5.0)
    assert lost.lost([1], now=100.0) == set()
    clock.advance(4.9)
    assert lost.lost([1, 2], now=104.9) == set()
    clock.advance(0.1)
    assert lost.lost([1, 2], now=105.0) == {1}


def test_only_what_is_known_by_then_counts() -> None:
    clock = ManualClock(100.0)
    lost = LostMessages[int](clock=clock, lost_after_s=5.0)
    lost.lost([1], now=100.0)
    clock.advance(60)
    assert lost.lost([1], now=104.0) == set(), "what workers said since is not read yet"


def test_a_message_that_is_heard_of_is_not_missed_any_more() -> None:
    clock = ManualClock(100.0)
    lost = LostMessages[int](clock=clock, lost_after_s=5.0)
    lost.lost([1, 2], now=100.0)
    clock.advance(3)
    lost.lost([2], now=103.0)
    clock.advance(3)
    assert lost.lost([1, 2], now=106.0) == {2}


def test_forgetting_begins_anew() -> None:
    clock = ManualClock(100.0)
    lost = LostMessages[int](clock=clock, lost_after_s=5.0)
    lost.lost([1], now=100.0)
    clock.advance(5)
    lost.forget()
    assert lost.lost([1], now=105.0) == set()


@pytest.mark.parametrize(
    ("begun", "lease_until", "expected"),
    [
        (True, 99.0, "its worker stopped responding"),
        (False, 99.0, "no worker started it in time"),
        (False, 101.0, "its message was lost"),
    ],
)
def test_the_log_says_what_happened(begun: bool, lease_until: float, expected: str) -> None:
    assert reason(begun=begun, lease_until=lease_until, now=100.0) == expected
