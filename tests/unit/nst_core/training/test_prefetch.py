"""Prefetching: steps in any order, and errors."""

from collections.abc import Iterator
from contextlib import closing
from threading import Event

import pytest

from nst_core.training.prefetch import Prefetcher


@pytest.mark.parametrize("threads", [1, 3])
def test_values_are_those_of_the_requested_step_in_any_order(threads: int) -> None:
    with closing(Prefetcher(lambda step: step * 10, threads=threads)) as ahead:
        order = [0, 1, 2, 3, 7, 8, 8, 2, 3, 0]
        assert [ahead.take(step) for step in order] == [step * 10 for step in order]


def test_each_step_is_made_once_when_taken_in_order() -> None:
    made: list[int] = []
    with closing(Prefetcher(made.append, threads=2)) as ahead:
        for step in range(10):
            ahead.take(step)
    assert sorted(set(made)) == sorted(made)
    assert set(range(10)) <= set(made) <= set(range(12))


def test_an_error_is_raised_at_its_own_step() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("two")
        return step

    def taken(ahead: Prefetcher[int]) -> Iterator[int]:
        for step in (0, 1, 3, 2):
            yield ahead.take(step)

    with closing(Prefetcher(make, threads=1)) as ahead:
        values = taken(ahead)
        assert [next(values) for _ in range(3)] == [0, 1, 3]
        with pytest.raises(ValueError, match="two"):
            next(values)


def test_a_step_can_be_waited_for_before_it_is_taken() -> None:
    gate = Event()

    def make(step: int) -> int:
        assert gate.wait(30)
        return step

    with closing(Prefetcher(make, threads=1)) as ahead:
        assert not ahead.wait(3, timeout_s=0.01)
        gate.set()
        assert ahead.wait(3, timeout_s=30)
        assert ahead.take(3) == 3


def test_a_step_with_an_error_need_not_be_waited_for() -> None:
    def make(step: int) -> int:
        raise ValueError("none")

    with closing(Prefetcher(make, threads=1)) as ahead:
        assert ahead.wait(0, timeout_s=30)
        with pytest.raises(ValueError, match="none"):
            ahead.take(0)
