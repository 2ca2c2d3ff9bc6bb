"""Tests of worker.runtime.engine."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from threading import Event

import pytest

from tests.unit.worker.kit import WAIT_S
from worker.runtime.engine import Engine


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


def test_calls_run_one_at_a_time_in_a_thread_of_the_engine(engine: Engine) -> None:
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
def test_an_error_reaches_its_caller_and_the_thread_continues(engine: Engine, error: Exception) -> None:
    def fail() -> None:
        raise error

    assert engine.submit(fail).exception(WAIT_S) is error
    assert engine.submit(lambda: 7).result(WAIT_S) == 7


def test_after_a_failure_of_torch_a_new_thread_continues(engine: Engine) -> None:
    def fail(error: Exception) -> None:
        raise error

    def thread() -> threading.Thread:
        return engine.submit(threading.current_thread).result(WAIT_S)

    first = thread()
    engine.submit(lambda: fail(KeyError("x"))).exception(WAIT_S)
    assert thread() is first
    engine.submit(lambda: fail(RuntimeError("could not create a primitive"))).exception(WAIT_S)
    assert thread() is not first
    first.join(WAIT_S)
    assert not first.is_alive()


def test_engine_without_memory_for_a_new_thread_keeps_the_old_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise MemoryError

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    first = engine.submit(threading.current_thread).result(WAIT_S)
    monkeypatch.setattr(engine, "_start", refuse)
    engine.submit(fail).exception(WAIT_S)
    assert engine.submit(threading.current_thread).result(WAIT_S) is first
    monkeypatch.undo()
    # It may already be waiting for the next call.
    later = [engine.submit(threading.current_thread).result(WAIT_S) for _ in range(2)]
    assert later[-1] is not first


STARVED = """
import resource, time
import numpy as np
from nst_core.styles import shipped_styles
from nst_core.inference.engines import load_stylizer
from worker.runtime.engine import Engine

stylizer, engine = load_stylizer(shipped_styles()[0].weights()), Engine()
work = lambda width: engine.submit(lambda: stylizer(np.zeros((1, 64, width, 3), np.uint8)))
work(64).result()
before = resource.getrlimit(resource.RLIMIT_DATA)
resource.setrlimit(resource.RLIMIT_DATA, (1 << 20, before[1]))
failed = work(72).exception()
resource.setrlimit(resource.RLIMIT_DATA, before)
for _ in range(3):
    again = work(72).exception()
print(type(failed).__name__, again)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_network_that_ran_out_of_memory_works_again_when_memory_is_free() -> None:
    run = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=120, check=False)
    assert run.stdout == "RuntimeError None\n", run.stderr


def test_closing_runs_all_queued_calls() -> None:
    engine = Engine()
    release = block(engine)
    future = engine.submit(lambda: 7, order=(10**9,))
    release.set()
    engine.close()
    assert future.result(0) == 7


def test_lanes_take_turns_even_if_one_has_a_long_queue(engine: Engine) -> None:
    ran: list[str] = []
    release = block(engine)
    for number in range(4):
        engine.submit(lambda n=number: ran.append(f"image {n}"), lane="images")  # type: ignore[misc]

    def iterate(number: int) -> None:
        ran.append(f"iteration {number}")
        if number < 2:  # queued after all images, both by order and by time
            engine.submit(lambda: iterate(number + 1), order=(10**9,), lane="long")

    engine.submit(lambda: iterate(0), order=(10**9,), lane="long")
    release.set()
    engine.submit(lambda: None, order=(10**9,), lane="images").result(WAIT_S)
    assert ran == ["image 0", "iteration 0", "image 1", "iteration 1", "image 2", "iteration 2", "image 3"]


def test_a_closed_engine_refuses_calls() -> None:
    engine = Engine()
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(lambda: None)


def test_freed_memory_is_returned_after_calls_and_once_when_idle() -> None:
    told: list[bool] = []
    idle = Event()

    def trim(is_idle: bool) -> None:
        told.append(is_idle)
        if is_idle:
            idle.set()

    engine = Engine(trim=trim, idle_s=0.01)
    assert engine.submit(lambda: 1).result() == 1
    assert idle.wait(30)
    assert engine.submit(lambda: 2).result() == 2
    engine.close()
    assert told.count(False) == 2
