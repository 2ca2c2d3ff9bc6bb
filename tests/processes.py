"""Find processes that a test left behind."""

import time
from collections.abc import Callable
from pathlib import Path

#: Environment variable that marks all processes of a test. Children inherit it.
MARK = "NST_TEST_MARK"


def marked_processes(mark: str, home: Path) -> dict[int, str]:
    """Return the command lines, by id, of all processes that have NST_TEST_MARK=`mark` or run in a folder of `home`.

    Redis overwrites its own environment, but runs in its data folder.
    """
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = wanted in (folder / "environ").read_bytes().split(b"\0")
            if marked or (folder / "cwd").readlink().is_relative_to(home):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended, or belongs to another user
    return found


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    """Return as soon as a condition holds. Fail if it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def wait_until_gone(mark: str, home: Path, *, timeout_s: float = 10.0) -> dict[int, str]:
    """Wait for processes to end, and return those that are left after the time limit."""
    deadline = time.monotonic() + timeout_s
    while (left := marked_processes(mark, home)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
