"""Tests of nst_core.system.budget."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event

import pytest

from nst_core.system.budget import Budget, Share
from tests.unit.worker.kit import wait_until


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


def test_the_lowest_order_goes_first_and_of_equal_orders_the_one_that_asked_first() -> None:
    budget, served = Budget(100), list[str]()

    def take(name: str, order: float) -> None:
        with Share(budget, order=order) as share:
            share.take(100)
            served.append(name)

    with ThreadPoolExecutor() as threads:
        budget.take(100)
        asked = [("new", 2), ("newer", 3), ("old", 1), ("old again", 1)]
        for number, (name, order) in enumerate(asked, start=1):
            threads.submit(take, name, order)
            wait_until(lambda count=number: len(budget._turns) == count)  # type: ignore[misc]
        budget.give_back(100)
    assert served == ["old", "old again", "new", "newer"]


def test_whoever_waits_gives_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_core.system.budget._SIGN_S", 0.01)
    budget, signs = Budget(100), list[None]()
    budget.take(100)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(budget.take, 1, waits=lambda: signs.append(None))
        wait_until(lambda: len(signs) > 3)
        budget.give_back(100)
        assert waiting.result(10)
    assert budget.take(99, waits=lambda: pytest.fail("it does not wait"))


def test_a_sign_that_raises_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_core.system.budget._SIGN_S", 0.01)
    budget = Budget(100)

    def stop() -> None:
        raise InterruptedError

    budget.take(60)
    with pytest.raises(InterruptedError):
        budget.take(60, waits=stop)
    assert budget.take(40, wait=False), "it is out of the way"


def test_what_is_tried_again_has_its_share_already() -> None:
    budget = Budget(100)
    with Share(budget) as share:
        assert share.take(60)
        with ThreadPoolExecutor(1) as threads:
            other = threads.submit(budget.take, 50)
            wait_until(lambda: bool(budget._turns))
            assert share.take(60), "the same amount, although another one waits"
            assert not other.done()
            assert share.take(0)
            assert other.result(10), "what is held no more is for the other"
        assert not share.take(60, wait=False)
        assert share.take(50)
    budget.give_back(50)
    assert budget.take(100, wait=False), "the end gives everything back"
