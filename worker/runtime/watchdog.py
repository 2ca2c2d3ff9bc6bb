"""Notices that a worker is stuck and ends its process, so that its supervisor restarts it."""

import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Protocol

from nst_core.clock import Clock
from nst_core.system.logs import stacks

_log = logging.getLogger(__name__)
#: Exit code of a stuck worker; in `sysexits.h` the number of a temporary failure.
EX_TEMPFAIL = 75
#: Time for the last reports. Redis may be what everything waits for.
_LAST_WORDS_S = 5.0
#: Times in which the process was frozen that are remembered.
_REMEMBERED = 100
#: Seconds after which the system ends the process in any case.
_AT_LAST_S = 10


class Work(Protocol):
    """The report on a piece of work in flight."""

    @property
    def idle_s(self) -> float:
        """Seconds since an item or an iteration was completed, or since the start."""
        ...

    def tick(self) -> None:
        """Publish what is new."""
        ...


@dataclass(kw_only=True, eq=False)
class _Watched:
    label: str
    lane: str
    work: Work
    #: When it became the oldest of its lane; before that, others went first.
    first_at: float | None = None


class Watchdog:
    """Watches all work in flight. A worker is stuck if its engine, or the oldest work of a lane, makes no progress.

    The oldest chunk of a lane goes first, so that only this one must make progress: the others may wait for their turn
    as long as it takes. Trainings are watched through the engine alone, because a segment may have to fetch all its
    photos before its first step.

    Time in which the watchdog itself did not run, because the machine was suspended or this process was stopped, does
    not count: everything has as much time left as before.

    The end of a stuck process publishes no end of its chunks. Their leases expire, which counts as a failure, so that
    a photo on which every worker gets stuck fails in the end.
    """

    def __init__(
        self,
        *,
        stuck_after_s: float,
        engine_busy_s: Callable[[], float],
        is_silent: Callable[[], bool] = lambda: False,
        clock: Clock = time.monotonic,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        """`engine_busy_s` returns how long a call has run in the engine, `is_silent` whether polling has stopped.

        `leave` ends the process.
        """
        self._stuck_after_s = stuck_after_s
        self._engine_busy_s = engine_busy_s
        self._is_silent = is_silent
        self._clock = clock
        self._leave = leave
        self._pause_s = min(stuck_after_s / 10, 5.0)
        self._looked_at: float | None = None
        #: When this process did not run: the end of each such time, and its seconds.
        self._frozen: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._lock = Lock()
        self._watched: list[_Watched] = []
        self._closed = Event()
        #: The number of checks so far.
        self.looks = 0
        self._thread = Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Check regularly, on a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Stop checking."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    @contextmanager
    def watching(self, work: Work, *, lane: str, label: str) -> Iterator[None]:
        """Watch a piece of work during the `with` block."""
        watched = _Watched(label=label, lane=lane, work=work)
        with self._lock:
            self._watched.append(watched)
            self._note_first()
        try:
            yield
        finally:
            with self._lock:
                self._watched.remove(watched)
                self._note_first()

    def look(self) -> None:
        """End the process if it is stuck; call it about every `stuck_after_s` / 10."""
        now = self._clock()
        if self._looked_at is not None and now - self._looked_at > 2 * self._pause_s:
            self._frozen.append((now, now - self._looked_at - self._pause_s))
        try:
            reason = self.stuck()
        finally:
            self._looked_at = self._clock()
        if reason is not None:
            self.end(f"stuck: {reason}")

    def end(self, reason: str) -> None:
        """Log the stacks of all threads, publish the last reports if possible, and end the process."""
        # Starting a thread may hang forever if memory is short.
        signal.alarm(_AT_LAST_S)
        try:
            _log.critical("%s; the stacks of all threads:\n%s", reason, stacks())
            logging.shutdown()
            last_words = Thread(target=self._tell_all, name="last words", daemon=True)
            last_words.start()
            last_words.join(_LAST_WORDS_S)
        finally:
            self._leave(EX_TEMPFAIL)
            signal.alarm(0)

    def stuck(self) -> str | None:
        """Return what makes no progress, or None."""
        now = self._clock()
        busy_s = self._awake(self._engine_busy_s(), now)
        if busy_s > self._stuck_after_s:
            return f"the engine has run one call for {busy_s:.0f} s"
        if self._is_silent():
            return "the queues are no longer polled"
        with self._lock:
            firsts = [(watched, watched.first_at) for watched in self._watched if watched.first_at is not None]
        for watched, first_at in firsts:
            idle_s = self._awake(min(watched.work.idle_s, now - first_at), now)
            if idle_s > self._stuck_after_s:
                return f"{watched.label} made no progress for {idle_s:.0f} s"
        return None

    def _awake(self, seconds: float, now: float) -> float:
        """Return for how long of the last seconds this process ran."""
        began_at = now - seconds
        return seconds - sum(min(frozen_s, max(0.0, ended_at - began_at)) for ended_at, frozen_s in self._frozen)

    def _note_first(self) -> None:
        """Record which work goes first now; call it with the lock held."""
        lanes = set[str]()
        for watched in self._watched:
            if watched.lane not in lanes and watched.first_at is None:
                watched.first_at = self._clock()
            lanes.add(watched.lane)

    def _tell_all(self) -> None:
        with self._lock:
            works = [watched.work for watched in self._watched]
        for work in works:
            work.tick()

    def _watch(self) -> None:
        while not self._closed.wait(self._pause_s):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - nothing else would check
                _log.exception("the watchdog failed")
            self.looks += 1
