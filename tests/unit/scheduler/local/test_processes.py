"""Child processes and their logs."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from scheduler.local.processes import Child, describe_exit
from scheduler.local.supervisor import Service, ServiceState, StackEvent, Supervisor


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


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_children_of_a_dead_service_are_ended(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    events = Events()
    stack = supervisor(tmp_path, events, [service("main", f"sleep 60 & echo $! > {pid_file}; wait")])
    stack.start()
    try:
        while not (pid_file.exists() and pid_file.read_text().strip()):
            time.sleep(0.01)
        grandchild = int(pid_file.read_text())
        os.kill(stack.children["main"].pid, signal.SIGKILL)
        events.wait_for("main", ServiceState.DIED)
        deadline = time.monotonic() + 5
        while is_alive(grandchild) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_alive(grandchild)
    finally:
        stack.stop()


def test_a_large_log_is_renamed_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.local.processes.MAX_LOG_BYTES", 10)
    log = tmp_path / "main.log"
    log.write_text("an old and long log")
    child = Child("main", ["/bin/echo", "new"], env={}, cwd=tmp_path, log=log)
    while child.poll() is None:
        time.sleep(0.01)
    assert (tmp_path / "main.log.1").read_text() == "an old and long log"
    assert child.log_end() == "new"


def test_exits_are_described() -> None:
    assert [describe_exit(code) for code in (0, 3, -9, -77)] == ["exit code 0", "exit code 3", "SIGKILL", "signal 77"]
