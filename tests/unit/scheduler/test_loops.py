"""Tests of scheduler.loops."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from nst_core.errors import BrokerUnavailableError
from nst_core.metrics import TickOutcome
from scheduler.loops import Loop

ROOT = Path(__file__).parents[3]


def test_loop_ticks_again_at_once_while_there_is_work() -> None:
    ticks, idle = [], Event()

    def tick() -> bool:
        ticks.append(1)
        if len(ticks) == 5:
            idle.set()
        return len(ticks) < 5

    loop = Loop("test", tick, idle_s=600)
    loop.start()
    assert idle.wait(10)
    loop.stop()
    loop.join(10)
    assert len(ticks) in (5, 6)


def test_wake_ends_the_pause() -> None:
    ticked = [Event(), Event()]
    count = iter(range(100))

    def tick() -> bool:
        ticked[min(next(count), 1)].set()
        return False

    loop = Loop("test", tick, idle_s=600)
    loop.start()
    assert ticked[0].wait(10)
    loop.wake()
    assert ticked[1].wait(10)
    loop.stop()
    loop.join(10)
    assert not loop.is_alive()


def test_passing_fault_does_not_end_the_loop() -> None:
    again = Event()
    calls = iter(range(100))

    def tick() -> bool:
        if next(calls) == 0:
            raise BrokerUnavailableError("Redis does not answer.")
        again.set()
        return False

    loop = Loop("test", tick, idle_s=600)
    loop.start()
    loop.wake()
    assert again.wait(10)
    loop.stop()
    loop.join(10)


def test_bug_in_a_loop_ends_the_process_for_its_supervisor_to_start_it_anew() -> None:
    script = textwrap.dedent(
        """
        import time
        from scheduler.loops import Loop
        Loop("buggy", lambda: 1 / 0).start()
        time.sleep(60)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 70
    assert "The buggy loop failed" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_full_disk_does_not_end_the_loop_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    ticked = [Event(), Event()]
    calls = iter(range(100))

    def tick() -> bool:
        ticked[min(next(calls), 1)].set()
        raise OSError(28, "No space left on device")

    loop = Loop("test", tick, idle_s=600)
    loop.start()
    assert ticked[0].wait(10)
    loop.wake()
    assert ticked[1].wait(10)
    loop.stop()
    loop.join(10)
    assert [record.getMessage() for record in caplog.records] == [
        "test: This machine failed: [Errno 28] No space left on device. Trying again."
    ]


def test_each_tick_is_observed() -> None:
    seen: list[tuple[str, TickOutcome]] = []
    enough = Event()
    answers: Iterator[bool | Exception] = iter([True, BrokerUnavailableError("Redis does not answer."), False])

    def tick() -> bool:
        answer = next(answers, False)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def observe(loop: str, seconds: float, outcome: TickOutcome, /) -> None:
        assert seconds >= 0
        seen.append((loop, outcome))
        if len(seen) == 3:
            enough.set()

    loop = Loop("test", tick, idle_s=600, observe=observe)
    loop.start()
    assert enough.wait(20)
    loop.stop()
    loop.join(10)
    assert seen[:3] == [("test", outcome) for outcome in (TickOutcome.WORKED, TickOutcome.FAULT, TickOutcome.IDLE)]
