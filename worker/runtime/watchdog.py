"""Notices that a worker is stuck, and ends its process, so that a new one and other workers go on."""

import faulthandler
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Protocol

from nst_core.clock import Clock

_log = logging.getLogger(__name__)
#: Exit code of a worker that was stuck, as `sysexits.h` numbers a failure that may pass.
EX_TEMPFAIL = 75
#: What the worker has is told within this time, or not at all: Redis may be what everything waits for.
_LAST_WORDS_S = 5.0
#: After so many seconds the system ends the process.
_AT_LAST_S = 10


class Work(Protocol):
    """A piece of work in flight, as a ChunkReport reports on one."""

    @property
    def idle_s(self) -> float:
        """Seconds since an item or an iteration of it ended, or since it began."""
        ...

    def tick(self) -> None:
        """Tell the scheduler what is new."""
        ...


@dataclass(kw_only=True, eq=False)
class _Watched:
    label: str
    lane: str
    work: Work
    #: When it became the oldest of its lane: before that, others went first.
    first_at: float | None = None


class Watchdog:
    """Watches over all work in flight; a worker is stuck where its engine or the oldest work of a lane stands still.

    Of the chunks in one lane the oldest goes first, so that it, and it alone, must get on: one that waits for its
    turn may wait for as long as others take. Trainings are watched through the engine alone, for a segment may have
    to fetch all its photos before its first step.

    The end of a stuck process is not told as an end of its chunks. Their leases run out, which counts as a failure,
    so that a photo that gets every worker stuck comes to its end too.
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
        """`engine_busy_s` says for how long the engine's present call has run, `is_silent` if no message is taken.

        `leave` ends the process.
        """
        self._stuck_after_s = stuck_after_s
        self._engine_busy_s = engine_busy_s
        self._is_silent = is_silent
        self._clock = clock
        self._leave = leave
        self._lock = Lock()
        self._watched: list[_Watched] = []
        self._closed = Event()
        #: How many times it has looked.
        self.looks = 0
        self._thread = Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Look every now and then, on a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    @contextmanager
    def watching(self, work: Work, *, lane: str, label: str) -> Iterator[None]:
        """Watch over a piece of work for as long as the `with` block takes."""
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
        """End the process if it is stuck."""
        reason = self.stuck()
        if reason is not None:
            self.end(f"stuck: {reason}")

    def end(self, reason: str) -> None:
        """End the process, which cannot go on, whatever else it cannot do any more."""
        # A thread that finds no memory may keep the one that begins it for ever.
        signal.alarm(_AT_LAST_S)
        try:
            _log.critical("%s; the stacks of all threads:", reason)
            logging.shutdown()
            faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
            last_words = Thread(target=self._tell_all, name="last words", daemon=True)
            last_words.start()
            last_words.join(_LAST_WORDS_S)
        finally:
            self._leave(EX_TEMPFAIL)
            signal.alarm(0)

    def stuck(self) -> str | None:
        """Return what stands still, or None."""
        busy_s = self._engine_busy_s()
        if busy_s > self._stuck_after_s:
            return f"the engine has been at one call for {busy_s:.0f} s"
        if self._is_silent():
            return "no message is asked for any more"
        now = self._clock()
        with self._lock:
            firsts = [(watched, watched.first_at) for watched in self._watched if watched.first_at is not None]
        for watched, first_at in firsts:
            idle_s = min(watched.work.idle_s, now - first_at)
            if idle_s > self._stuck_after_s:
                return f"nothing of {watched.label} was completed for {idle_s:.0f} s"
        return None

    def _note_first(self) -> None:
        """Note which work goes first now; under the lock."""
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
        while not self._closed.wait(min(self._stuck_after_s / 10, 5.0)):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - whatever it is, nobody else would look
                _log.exception("the watchdog failed")
            self.looks += 1
