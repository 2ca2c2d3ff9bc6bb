"""Rate limits, streams and what is kept for a moment, by a clock of the test's."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.access.limits import NAMES, Limits, RateLimiter, Streams, limits_of
from scheduler.domain.errors import RateLimitedError, TooManyStreamsError
from scheduler.settings import SchedulerSettings


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_lets_a_burst_pass_and_then_so_many_a_second() -> None:
    clock = Clock()
    rates = RateLimiter(clock=clock)
    allowed = [rates.take("k", per_s=2.0, burst=3) for _ in range(3)]
    assert [each.remaining for each in allowed] == [2, 1, 0]
    assert (allowed[0].limit, allowed[-1].reset_s) == (3, 1.5)
    with pytest.raises(RateLimitedError) as caught:
        rates.take("k", per_s=2.0, burst=3)
    assert caught.value.retry_after_s == 0.5
    rates.take("other", per_s=2.0, burst=3)
    clock.now += 0.5
    rates.take("k", per_s=2.0, burst=3)
    with pytest.raises(RateLimitedError):
        rates.take("k", per_s=2.0, burst=3)


@given(st.lists(st.floats(0, 3), max_size=60))
def test_no_pattern_of_requests_gets_more_than_the_rate_and_one_burst(pauses: list[float]) -> None:
    clock = Clock()
    rates, passed = RateLimiter(clock=clock), 0
    for pause in pauses:
        clock.now += pause
        try:
            rates.take("k", per_s=2.0, burst=4)
        except RateLimitedError:
            continue
        passed += 1
    assert passed <= 4 + 2.0 * (clock.now - 100.0) + 1e-6


def test_a_clock_that_is_set_back_gives_no_requests_and_takes_none() -> None:
    clock = Clock()
    rates = RateLimiter(clock=clock)
    rates.take("k", per_s=1.0, burst=2)
    clock.now -= 50
    rates.take("k", per_s=1.0, burst=2)
    with pytest.raises(RateLimitedError):
        rates.take("k", per_s=1.0, burst=2)


def test_streams_are_counted_by_tenant_until_they_are_closed() -> None:
    streams = Streams()
    streams.acquire("a", limit=1)
    with pytest.raises(TooManyStreamsError):
        streams.acquire("a", limit=1)
    streams.acquire("b", limit=1)
    streams.release("a")
    streams.acquire("a", limit=1)
    streams.acquire("c", limit=None)
    streams.release("c")


def test_limits_of_an_installation_come_from_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_MAX_QUEUED_ITEMS", "7")
    monkeypatch.setenv("NST_REQUESTS_PER_S", "null")
    limits = limits_of(SchedulerSettings())
    assert (limits.max_queued_items, limits.requests_per_s) == (7, None)
    assert limits.with_changes({"max_queued_items": None, "of_a_newer_version": 1}).max_queued_items is None
    rest = [name for name in NAMES if name not in ("max_queued_items", "requests_per_s")]
    assert all(getattr(limits, name) == getattr(Limits(), name) for name in rest)
