"""The supervisor with small shell programs as services."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.local.supervisor import Service, ServiceState, StackError, StackEvent, Supervisor

FOREVER = "sleep 60 & wait"


class Events:
    """Collects what a supervisor tells."""

    def __init__(self) -> None:
        self.seen: list[StackEvent] = []
        self._changed = threading.Condition()

    def __call__(self, event: StackEvent) -> None:
        with self._changed:
            self.seen.append(event)
            self._changed.notify_all()

    def wait_for(self, name: str, state: ServiceState, *, count: int = 1) -> StackEvent:
        """Return the event once it has come `count` times."""

        def found() -> list[StackEvent]:
            return [event for event in self.seen if (event.name, event.state) == (name, state)]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, 20), f"{name} was never {state}: {self.seen}"
        return found()[count - 1]


def service(name: str, script: str, *, grace_s: float = 5.0, is_ready: Callable[[], bool] = lambda: True) -> Service:
    return Service(
        name=name, command=["/bin/sh", "-c", script], env=dict(os.environ), is_ready=is_ready, grace_s=grace_s
    )


def supervisor(folder: Path, events: Events, *stages: Sequence[Service], start_timeout_s: float = 20.0) -> Supervisor:
    return Supervisor(stages, logs=folder, cwd=folder, on_event=events, start_timeout_s=start_timeout_s)


#: Beats, and is then in C code that keeps the interpreter's lock: no thread and no signal handler runs any more.
HOLDS_THE_LOCK = """
import ctypes, os, sys, time
from pathlib import Path
from nst_core.system.heartbeat import Heartbeat
heartbeat, marker = Heartbeat(Path(sys.argv[1])), Path(sys.argv[2])
heartbeat.start()
heartbeat.ready()
if marker.exists():
    time.sleep(60)
marker.touch()
time.sleep(float(sys.argv[3]))
ctypes.PyDLL(None).sleep(60)
"""


def python(name: str, script: str, heartbeat: Path, *arguments: str, deaf_s: float) -> Service:
    return Service(
        name=name,
        command=[sys.executable, "-c", script, str(heartbeat), *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        is_ready=heartbeat.exists,
        heartbeat=heartbeat,
        deaf_s=deaf_s,
    )


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_stages_start_in_order_and_stop_in_the_reverse_order(tmp_path: Path) -> None:
    events = Events()
    stack = supervisor(tmp_path, events, [service("low", FOREVER)], [service("high", FOREVER)])
    stack.start()
    assert set(stack.children) == {"low", "high"}
    stack.stop()
    told = [(event.name, event.state.value) for event in events.seen]
    assert told == [
        ("low", "starting"),
        ("low", "ready"),
        ("high", "starting"),
        ("high", "ready"),
        ("high", "stopping"),
        ("low", "stopping"),
    ]


def test_a_service_is_started_once_the_stage_before_is_ready(tmp_path: Path) -> None:
    events, ready = Events(), tmp_path / "ready"
    first = service("first", f"sleep 0.3; touch {ready}; {FOREVER}", is_ready=ready.exists)
    second = service("second", f"test -e {ready} || exit 9; {FOREVER}")
    stack = supervisor(tmp_path, events, [first], [second])
    stack.start()
    stack.stop()
    assert events.wait_for("second", ServiceState.READY)


def test_a_killed_service_is_reported_and_restarted(tmp_path: Path) -> None:
    events = Events()
    stack = supervisor(tmp_path, events, [service("main", FOREVER)])
    stack.start()
    try:
        before = stack.children["main"]
        before.send_signal(signal.SIGKILL)
        died = events.wait_for("main", ServiceState.DIED)
        assert died.detail.startswith("SIGKILL; restarts in 1 s; see ")
        events.wait_for("main", ServiceState.READY, count=2)
        assert stack.children["main"].pid != before.pid
    finally:
        stack.stop()


@pytest.mark.parametrize("after_s", ["0", "2.5"])
def test_a_process_that_hangs_is_killed_and_replaced(tmp_path: Path, after_s: str) -> None:
    events, heartbeat = Events(), tmp_path / "beat"
    main = python("main", HOLDS_THE_LOCK, heartbeat, str(tmp_path / "marker"), after_s, deaf_s=3.0)
    stack = supervisor(tmp_path, events, [main])
    stack.start()
    try:
        died = events.wait_for("main", ServiceState.DIED)
        assert died.detail.startswith("killed because it hung; restarts in 1 s; see ")
        events.wait_for("main", ServiceState.READY, count=2)
        time.sleep(4.0)
        assert [event.state for event in events.seen].count(ServiceState.DIED) == 1, "the new one is well"
    finally:
        stack.stop()


def test_a_process_that_never_beats_is_killed_later(tmp_path: Path) -> None:
    events = Events()
    mute = replace(service("main", FOREVER), heartbeat=tmp_path / "beat", deaf_s=0.2, mute_s=1.5)
    stack = supervisor(tmp_path, events, [mute])
    stack.start()
    try:
        time.sleep(0.7)
        assert ServiceState.DIED not in [event.state for event in events.seen]
        assert events.wait_for("main", ServiceState.DIED).detail.startswith("killed because it hung")
    finally:
        stack.stop()


def test_a_jump_of_the_clock_kills_nothing(tmp_path: Path) -> None:
    events, jump_s, heartbeat = Events(), 0.0, tmp_path / "beat"
    main = python("main", "import sys,time\nopen(sys.argv[1], 'w')\ntime.sleep(60)", heartbeat, deaf_s=30.0)
    stack = Supervisor([[main]], logs=tmp_path, cwd=tmp_path, on_event=events, clock=lambda: time.monotonic() + jump_s)
    stack.start()
    try:
        for _ in range(5):
            jump_s += 3600.0  # as after the lid of a laptop was closed
            time.sleep(0.3)
        os.utime(heartbeat, (1, 1))  # and as if the wall clock had been set back
        time.sleep(0.3)
        assert ServiceState.DIED not in [event.state for event in events.seen]
    finally:
        stack.stop()


def test_a_service_that_is_not_awaited_is_reported_when_ready(tmp_path: Path) -> None:
    events, ready = Events(), tmp_path / "ready"
    late = replace(service("late", f"sleep 0.5; touch {ready}; {FOREVER}", is_ready=ready.exists), is_awaited=False)
    stack = supervisor(tmp_path, events, [service("main", FOREVER), late])
    stack.start()
    try:
        assert not any(event.name == "late" and event.state is ServiceState.READY for event in events.seen)
        events.wait_for("late", ServiceState.READY)
    finally:
        stack.stop()


def test_pauses_before_restarts_grow(tmp_path: Path) -> None:
    events = Events()
    stack = supervisor(tmp_path, events, [service("main", "sleep 0.2; exit 3")])
    stack.start()
    try:
        assert "exit code 3; restarts in 1 s" in events.wait_for("main", ServiceState.DIED).detail
        assert "exit code 3; restarts in 2 s" in events.wait_for("main", ServiceState.DIED, count=2).detail
    finally:
        stack.stop()


def test_a_service_that_ends_at_the_start_stops_the_rest_and_shows_its_log(tmp_path: Path) -> None:
    events = Events()
    broken = service("broken", "echo no such disk; exit 4", is_ready=lambda: False)
    stack = supervisor(tmp_path, events, [service("main", FOREVER)], [broken])
    with pytest.raises(StackError, match=r"broken ended with exit code 4.*\n.*no such disk"):
        stack.start()
    assert not is_alive(stack.children["main"].pid)


def test_a_service_that_is_never_ready_is_an_error(tmp_path: Path) -> None:
    slow = service("slow", FOREVER, is_ready=lambda: False)
    stack = supervisor(tmp_path, Events(), [slow], start_timeout_s=0.3)
    with pytest.raises(StackError, match="slow was not ready in time"):
        stack.start()


def test_a_service_that_ignores_sigterm_is_killed_and_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The supervisor looks at the dying process again and again.
    monkeypatch.setattr("scheduler.local.supervisor._TICK_S", 0.0)
    events = Events()
    stack = supervisor(tmp_path, events, [service("deaf", f"trap '' TERM; {FOREVER}", grace_s=0.3)])
    stack.start()
    time.sleep(0.2)  # for the trap to be set
    stack.stop()
    assert [event.state for event in events.seen].count(ServiceState.KILLED) == 1


def test_a_listener_that_fails_stops_the_services(tmp_path: Path) -> None:
    def listen(event: StackEvent) -> None:
        if event.state is ServiceState.READY:
            raise BrokenPipeError("the console is closed")

    stack = Supervisor([[service("main", FOREVER)]], logs=tmp_path, cwd=tmp_path, on_event=listen)
    with pytest.raises(BrokenPipeError):
        stack.start()
    assert not is_alive(stack.children["main"].pid)


def test_stopping_an_unstarted_supervisor_does_nothing(tmp_path: Path) -> None:
    stack = supervisor(tmp_path, Events(), [service("main", FOREVER)])
    stack.stop()
    assert stack.children == {}
