"""A file that shows from outside that a process is alive and makes progress.

No thread can notice that all threads of its process are blocked: C code that holds the interpreter's lock, such as a
regular expression that never ends, stops timers, watchdogs and signal handlers alike. So a thread touches a file every
second while everything that it watches makes progress, and another process ends this one when the file gets old.

`python -m nst_core.system.heartbeat` is the probe for containers: it exits with 0 if the file NST_HEARTBEAT_FILE was
touched within the last minute, otherwise with 1.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread

from nst_core.clock import Clock
from nst_core.system.files import write_private
from nst_core.system.logs import stacks

_log = logging.getLogger(__name__)
STARTING, READY = "starting", "ready"
#: Seconds without a touch after which a process should be ended. Reading one huge file may take seconds in C.
DEAF_S = 60.0
INTERVAL_S = 1.0


@dataclass
class Stillness:
    """Measures how long a value stays the same, without the time in which the caller itself did not run.

    If the machine was suspended or this process was stopped, the watched value has as much time left as before.
    """

    clock: Clock = time.monotonic
    #: A longer pause between two checks counts as this much. It should be longer than the usual pause.
    max_step_s: float = 2.0
    _value: object = field(default=None, init=False)
    _seen_at: float | None = field(default=None, init=False)
    _still_s: float = field(default=0.0, init=False)

    def see(self, value: object) -> float:
        """Return for how many seconds the value has been the same."""
        now, before = self.clock(), self._seen_at
        self._seen_at = now
        if before is None or value != self._value:
            self._value, self._still_s = value, 0.0
        else:
            self._still_s += min(max(0.0, now - before), self.max_step_s)
        return self._still_s


@dataclass(kw_only=True)
class _Watched:
    progress: Callable[[], object]
    limit_s: float
    stillness: Stillness
    is_still: bool = False


class Heartbeat:
    """Touches a file while everything that is watched makes progress. Without a file it does nothing."""

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Clock = time.monotonic,
        on_still: Callable[[], object] | None = None,
    ) -> None:
        """Call `on_still` when something stops making progress; by default it logs the stacks of all threads."""
        self._path = path
        self._clock = clock
        self._on_still = on_still or _log_stacks
        self._lock = Lock()
        self._watched: dict[str, _Watched] = {}
        self._state = STARTING
        self._written: str | None = None
        self._failed = False
        self._closed = Event()
        self._thread = Thread(target=self._run, name="heartbeat", daemon=True)

    def watch(self, name: str, progress: Callable[[], object], *, limit_s: float = DEAF_S) -> None:
        """Stop touching the file while `progress` has returned the same value for `limit_s` seconds."""
        with self._lock:
            stillness = Stillness(clock=self._clock, max_step_s=2 * INTERVAL_S)
            self._watched[name] = _Watched(progress=progress, limit_s=limit_s, stillness=stillness)

    def ready(self) -> None:
        """Write to the file that the process is ready for work."""
        self._state = READY
        self.beat()

    def start(self) -> None:
        """Touch the file every second, on a separate thread."""
        if self._path is not None:
            self._thread.start()

    def close(self) -> None:
        """Stop touching the file."""
        self._closed.set()

    def beat(self) -> None:
        """Touch the file unless something makes no progress."""
        with self._lock:
            still = [name for name, watched in self._watched.items() if self._stands(name, watched)]
        if self._path is None or still:
            return
        try:
            if self._written == self._state:
                os.utime(self._path)
            else:
                write_private(self._path, self._state)
                self._written = self._state
            self._failed = False
        except OSError as error:
            self._written = None
            if not self._failed:
                self._failed = True
                _log.error("NST_HEARTBEAT_FILE, %s, cannot be written: %s", self._path, error.strerror)

    def _stands(self, name: str, watched: _Watched) -> bool:
        still_s = watched.stillness.see(watched.progress())
        was_still, watched.is_still = watched.is_still, still_s > watched.limit_s
        if watched.is_still and not was_still:
            _log.critical(
                "%s has made no progress for %.0f s: this process is stuck and should be ended", name, still_s
            )
            self._on_still()
        return watched.is_still

    def _run(self) -> None:
        self.beat()
        while not self._closed.wait(INTERVAL_S):
            self.beat()


def state_of(path: Path) -> str | None:
    """Return the state in a process's file, STARTING or READY; None if there is no file."""
    try:
        return path.read_text()
    except OSError:
        return None


def touched_at(path: Path) -> int | None:
    """Return when the file was last touched, in nanoseconds since 1970; None if there is no file."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if the process of NST_HEARTBEAT_FILE is alive, otherwise 1."""
    parser = argparse.ArgumentParser(
        prog="python -m nst_core.system.heartbeat", description="Exit with 0 if a process is alive."
    )
    parser.add_argument("--file", type=Path, default=os.environ.get("NST_HEARTBEAT_FILE") or None)
    parser.add_argument("--max-age", type=float, default=DEAF_S, metavar="SECONDS")
    parser.add_argument("--ready", action="store_true", help="exit with 0 only if the process is also ready for work")
    options = parser.parse_args(arguments)
    if options.file is None:
        parser.error("set NST_HEARTBEAT_FILE, or give --file")
    touched = touched_at(options.file)
    if touched is None or time.time() - touched / 1e9 > options.max_age:
        return 1
    return 0 if not options.ready or state_of(options.file) == READY else 1


def _log_stacks() -> None:
    _log.critical("the stacks of all threads:\n%s", stacks())


if __name__ == "__main__":
    sys.exit(main())
