"""Tests of worker.engine."""

import threading
from collections.abc import Iterator
from threading import Event

import pytest

from tests.unit.worker.kit import WAIT_S
from worker.engine import Engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


def block(engine: Engine) -> Event:
    """Keep the engine busy until the returned event is set."""
    begun, release = Event(), Event()

    def wait() -> None:
        begun.set()
        assert release.wait(WAIT_S)

    engine.submit(wait)
    assert begun.wait(WAIT_S)
    return release


def test_calls_run_one_at_a_time_on_one_thread_that_is_not_the_callers(engine: Engine) -> None:
    names = {engine.submit(lambda: threading.current_thread().name).result(WAIT_S) for _ in range(5)}
    assert names == {"engine"}


def test_the_lowest_order_runs_first_and_equal_orders_in_turn(engine: Engine) -> None:
    ran: list[str] = []
    release = block(engine)
    waiting = [
        engine.submit(lambda name=name: ran.append(name), order=order)  # type: ignore[misc]
        for name, order in [("b0", (2, 0)), ("a1", (1, 1)), ("a0", (1, 0)), ("b0 again", (2, 0))]
    ]
    release.set()
    for future in waiting:
        future.result(WAIT_S)
    assert ran == ["a0", "a1", "b0", "b0 again"]


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), MemoryError(), KeyError("x")])
def test_an_error_reaches_its_caller_and_the_thread_lives_on(engine: Engine, error: Exception) -> None:
    def fail() -> None:
        raise error

    assert engine.submit(fail).exception(WAIT_S) is error
    assert engine.submit(lambda: 7).result(WAIT_S) == 7


def test_closing_runs_what_is_queued() -> None:
    engine = Engine()
    release = block(engine)
    future = engine.submit(lambda: 7, order=(10**9,))
    release.set()
    engine.close()
    assert future.result(0) == 7


def test_lanes_take_turns_however_much_one_of_them_has_queued(engine: Engine) -> None:
    ran: list[str] = []
    release = block(engine)
    for number in range(4):
        engine.submit(lambda n=number: ran.append(f"image {n}"), lane="images")  # type: ignore[misc]

    def iterate(number: int) -> None:
        ran.append(f"iteration {number}")
        if number < 2:  # queued behind all images, in order and in time
            engine.submit(lambda: iterate(number + 1), order=(10**9,), lane="long")

    engine.submit(lambda: iterate(0), order=(10**9,), lane="long")
    release.set()
    engine.submit(lambda: None, order=(10**9,), lane="images").result(WAIT_S)
    assert ran == ["image 0", "iteration 0", "image 1", "iteration 1", "image 2", "iteration 2", "image 3"]


def test_a_closed_engine_takes_no_call_that_it_would_never_run() -> None:
    engine = Engine()
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(lambda: None)
