"""Tests of nst_core.system.budget."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event

import pytest

from nst_core.system.budget import Budget


def held(budget: Budget, amount: int, go: Event, threads: ThreadPoolExecutor) -> tuple[Event, Future[None]]:
    """Take bytes in a thread until `go` is set. Return an event that is set when they are taken."""
    taken = Event()

    def take() -> None:
        with budget.hold(amount):
            taken.set()
            go.wait(10)

    return taken, threads.submit(take)


def test_no_more_than_the_total_is_taken_and_a_large_demand_is_not_overtaken() -> None:
    budget, go = Budget(100), Event()
    with ThreadPoolExecutor() as threads:
        first, one = held(budget, 60, go, threads)
        assert first.wait(10)
        large, two = held(budget, 100, go, threads)
        small, three = held(budget, 10, go, threads)
        assert not large.wait(0.1)
        assert not small.is_set()
        go.set()
        assert large.wait(10)
        assert small.wait(10)
        wait([one, two, three])
    with budget.hold(100):
        pass


def test_more_than_the_total_counts_as_the_total() -> None:
    budget, taken = Budget(100), Event()

    def take_one() -> None:
        with budget.hold(1):
            taken.set()

    with ThreadPoolExecutor(1) as threads:
        with budget.hold(1000):
            threads.submit(take_one)
            assert not taken.wait(0.1)
        assert taken.wait(10)


def test_without_waiting_only_what_is_free_is_taken() -> None:
    budget, go = Budget(100), Event()
    assert budget.take(60, wait=False)
    assert not budget.take(41, wait=False)
    assert budget.take(40, wait=False)
    budget.give_back(60)
    with ThreadPoolExecutor() as threads:
        large, done = held(budget, 1000, go, threads)
        assert not large.wait(0.1)
        assert not budget.take(10, wait=False)  # it would overtake the one that waits
        budget.give_back(40)
        assert large.wait(10)
        go.set()
        done.result(10)
    assert budget.take(1000, wait=False)


def test_bytes_are_returned_after_an_error() -> None:
    budget = Budget(100)
    with pytest.raises(ZeroDivisionError), budget.hold(100):
        raise ZeroDivisionError
    with budget.hold(100):
        pass
