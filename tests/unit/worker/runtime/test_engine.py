"""Tests of worker.runtime.engine."""

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from threading import Barrier, Event, Semaphore

import pytest

from tests.unit.worker.kit import WAIT_S, wait_until
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


def test_engine_without_memory_for_a_new_thread_keeps_the_one_it_has(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise MemoryError

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    def thread() -> threading.Thread:
        return engine.submit(threading.current_thread).result(WAIT_S)

    monkeypatch.setattr(engine, "_start", refuse)
    threads = [thread()]
    for _ in range(3):
        engine.submit(fail).exception(WAIT_S)
        threads.append(thread())
    assert len(set(threads[:3])) == 3  # two spare threads have taken over
    assert threads[3] is threads[2]
    monkeypatch.undo()
    assert thread() is threads[2]  # its success shows that there is memory
    assert thread() is not threads[2]


def test_a_failed_call_keeps_no_memory() -> None:
    engine = Engine()

    class Photo:
        pass

    def submit() -> "weakref.ref[Photo]":
        photo = Photo()

        def fail(held: Photo = photo) -> None:
            raise KeyError(str(held))

        engine.submit(fail).exception(WAIT_S)
        return weakref.ref(photo)

    gc.disable()
    try:
        kept = submit()
        engine.submit(lambda: None).result(WAIT_S)
        assert kept() is None
    finally:
        gc.enable()
    engine.close()


def test_errors_of_trimming_do_not_end_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    def trim(is_idle: bool) -> None:
        raise MemoryError

    engine = Engine(trim=trim, idle_s=0.01)
    for number in range(3):
        assert engine.submit(lambda number=number: number).result(WAIT_S) == number  # type: ignore[misc]
    engine.close()
    assert "the engine continues" in caplog.text


def test_even_an_exit_inside_a_call_reaches_its_caller(engine: Engine) -> None:
    def leave() -> None:
        raise SystemExit(3)

    assert isinstance(engine.submit(leave).exception(WAIT_S), SystemExit)
    assert engine.submit(lambda: 7).result(WAIT_S) == 7
    assert engine.busy_s == 0


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


@dataclass
class Meeting:
    """A call that waits for as many others as there are places, or fails."""

    places: Barrier

    def __call__(self) -> None:
        self.places.wait(WAIT_S)


def test_two_small_calls_run_at_the_same_time_and_no_third(engine: Engine) -> None:
    meeting, running, most = Meeting(Barrier(2)), Semaphore(2), []

    def call() -> None:
        most.append(running.acquire(blocking=False))
        meeting()
        running.release()

    for future in [engine.submit(call, small=True) for _ in range(8)]:
        assert future.exception(WAIT_S) is None
    assert most == [True] * 8


def test_nothing_runs_beside_another_call(engine: Engine) -> None:
    release = block(engine)
    small = [engine.submit(lambda: running.append("small"), small=True) for _ in range(3)]
    running: list[str] = []
    last = engine.submit(lambda: running.append("last"), order=(1,))
    assert not small[0].done()
    release.set()
    last.result(WAIT_S)
    assert running == ["small"] * 3 + ["last"]


def test_a_call_waits_until_small_ones_have_ended_and_then_has_its_turn(engine: Engine) -> None:
    meeting, ran = Meeting(Barrier(3)), list[str]()

    def call() -> None:
        meeting()
        meeting()

    small = [engine.submit(call, small=True) for _ in range(2)]
    meeting()  # both run
    turn = engine.submit(lambda: ran.append("turn"), lane="other")
    after = [engine.submit(lambda: ran.append("after"), order=(1,), small=True) for _ in range(2)]
    assert not turn.done()
    meeting()
    for future in (*small, turn, *after):
        future.result(WAIT_S)
    assert ran == ["after", "turn", "after"]  # the lanes took turns


def test_a_small_call_knows_whether_it_has_company(engine: Engine) -> None:
    assert not engine.submit(lambda: engine.has_company, small=True).result(WAIT_S)
    release, found = block(engine), list[bool]()
    alternating = [
        engine.submit(lambda: found.append(engine.has_company), lane=lane, small=lane == "photos")
        for lane in ("photos", "iterations") * 3
    ]
    release.set()
    for future in alternating:
        future.result(WAIT_S)
    assert not any(found)  # whatever waits, it is an iteration's turn
    meeting = Meeting(Barrier(2))

    def call() -> bool:
        meeting()  # now the other one runs, too
        company = engine.has_company
        meeting()
        return company

    assert all(future.result(WAIT_S) for future in [engine.submit(call, small=True) for _ in range(2)])


def test_busy_time_is_that_of_the_call_that_has_not_proceeded_for_longest() -> None:
    now = [100.0]
    engine, meeting = Engine(clock=lambda: now[0]), Meeting(Barrier(3))

    def call(proceeds: bool) -> None:
        meeting()
        meeting()
        if proceeds:
            engine.proceed()
        meeting()
        meeting()

    futures = [engine.submit(partial(call, proceeds), small=True) for proceeds in (True, False)]
    meeting()
    assert engine.busy_s == 0
    now[0] += 7
    engine.proceed()  # not on a thread of the engine
    meeting()
    meeting()
    assert engine.busy_s == 7
    meeting()
    for future in futures:
        future.result(WAIT_S)
    engine.close()
    assert engine.busy_s == 0


def test_whoever_waits_for_a_call_gives_signs_until_it_ends(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.runtime.engine._SIGN_S", 0.01)
    release, signs = block(engine), list[int]()

    def sign() -> None:
        signs.append(engine.queued)
        if len(signs) == 3:
            release.set()

    def call() -> str:
        wait_until(lambda: len(signs) >= 6)
        return "done"

    assert engine.run(call, waits=sign) == "done"
    assert signs[:3] == [1, 1, 1], "while another call runs"
    assert signs[-1] == 0, "and while the call itself does"


def test_an_error_of_a_call_reaches_whoever_waits_for_it_also_one_about_time(engine: Engine) -> None:
    def fail() -> None:
        raise TimeoutError("of the call itself")

    with pytest.raises(TimeoutError, match="of the call itself"):
        engine.run(fail)


def test_an_engine_that_begins_no_call_is_busy() -> None:
    now = [100.0]
    entered, go = Event(), Event()

    def hang(idle: bool) -> None:
        entered.set()
        assert go.wait(WAIT_S)

    engine = Engine(clock=lambda: now[0], trim=hang)
    engine.submit(lambda: None).result(WAIT_S)
    assert entered.wait(WAIT_S)
    now[0] += 5
    assert engine.busy_s == 0, "nothing waits"
    futures = [engine.submit(lambda: None) for _ in range(2)]
    now[0] += 7
    assert engine.busy_s == 7
    go.set()
    for future in futures:
        future.result(WAIT_S)
    engine.close()
    assert engine.busy_s == 0


def test_without_a_second_thread_small_calls_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(engine, "_start", refuse)
    monkeypatch.setattr(engine, "_spares", [])
    threads = {engine.submit(threading.current_thread, small=True).result(WAIT_S) for _ in range(4)}
    engine.close()
    assert len(threads) == 1


def test_closing_runs_small_calls_on_both_threads_to_the_end() -> None:
    engine, meeting = Engine(), Meeting(Barrier(2))
    before = engine.submit(threading.current_thread).result(WAIT_S)
    futures = [engine.submit(meeting, small=True) for _ in range(6)]
    engine.close()
    assert all(future.exception(0) is None for future in futures)
    assert not before.is_alive()


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
