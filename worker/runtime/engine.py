"""The engine: the threads that run networks, for all work in flight."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from threading import Condition, Thread, current_thread
from typing import Any, Literal, TypeVar

from nst_core.clock import Clock
from nst_core.metrics import Observer, Stage, ignore

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: Empty lanes keep their turn (up to this many), so that a caller with one call at a time does not go to the back.
_MAX_LANES = 64
#: Threads for those that fail: two failures in a row may come before a call shows that there is memory again.
_SPARES = 2
#: Seconds between two signs that a call still waits or runs.
_SIGN_S = 1.0
#: What a thread runs: all calls, or small ones only.
_Role = Literal["all", "small"]


@dataclass(frozen=True, order=True)
class _Work:
    order: tuple[float, ...]
    #: Calls of equal order run in the order of their arrival.
    arrival: int
    submitted_at: float = field(compare=False)
    call: Callable[[], Any] = field(compare=False)
    small: bool = field(compare=False)
    #: That of the submission: log lines inside the call name its chunk and its image.
    context: Context = field(compare=False)
    future: Future[Any] = field(compare=False)


class Engine:
    """Runs calls on threads of its own, one at a time. Lanes take turns; in a lane the lowest order goes first.

    One image already fills every core or the whole GPU, so that a second one at the same time would only slow both
    down. All calls run on the same thread, because OpenMP keeps a team of threads for each thread that computes; only
    after a failure it is a new one. Small calls are the exception: a second thread runs one of them beside the first,
    each on a part of the cores, so that neither waits for all cores to be free of decoders and of other programs.

    A spare thread takes the place of one that failed. It has been started before: a thread that is started when memory
    is short may die before it reports to `Thread.start`, which then waits for ever.

    The order lets the oldest chunk go first. Chunks in flight then end one after the other and not all at once, and
    one of them has images ready while another begins or ends.

    The lanes keep short work and long work from waiting for each other: between two iterations of an optimisation
    there is an image of a bulk job, and after each image an iteration. Each bulk job has a lane of its own, so that a
    job of ten images keeps half its speed next to a job of a million.
    """

    def __init__(
        self,
        *,
        trim: Callable[[bool], object] = lambda idle: None,
        idle_s: float = 2.0,
        observe: Observer = ignore,
        clock: Clock = time.monotonic,
    ) -> None:
        """`trim` gives freed memory back. It is called after each call, and with True if none ran for `idle_s`.

        `observe` receives how long each call waited and ran.
        """
        self._trim = trim
        self._idle_s = idle_s
        self._observe = observe
        self._clock = clock
        #: The calls that run, and when each began, by their threads.
        self._running: dict[Thread, _Work] = {}
        self._began: dict[Thread, float] = {}
        #: When a call last ended, or was the first to wait: since then one that waits could have begun.
        self._free_at = clock()
        # Needs no limit: whoever submits waits for the result, so that there are never more calls than callers.
        self._lanes: dict[str, list[_Work]] = {}
        self._changed = Condition()
        self._closed = False
        self._arrivals = count()
        #: All threads, what they run, and those that have nothing to run yet.
        self._threads: set[Thread] = set()
        self._roles: dict[Thread, _Role] = {}
        self._spares: list[Thread] = []
        self._start()
        self._fill("all")
        for _ in range(_SPARES):
            self._start()

    @property
    def queued(self) -> int:
        """The number of calls that wait."""
        with self._changed:
            return sum(map(len, self._lanes.values()))

    @property
    def busy_s(self) -> float:
        """How many seconds ago the longest present call began or proceeded; 0 if none runs.

        If none runs although some wait, how many seconds ago one of these could have begun.
        """
        began = list(self._began.values())
        if not began and self.queued:
            began = [self._free_at]
        return max(0.0, self._clock() - min(began)) if began else 0.0

    @property
    def has_company(self) -> bool:
        """Whether another small call runs beside the present one, or could begin now."""
        with self._changed:
            can_begin = "small" in self._roles.values() and self._next("small") is not None
            return can_begin or len(self._running) > 1

    def proceed(self) -> None:
        """Record that this thread's call is at work, so that `busy_s` begins again; for calls that take minutes."""
        thread = current_thread()
        if thread in self._began:
            self._began[thread] = self._clock()

    def submit(
        self, call: Callable[[], _T], *, order: tuple[float, ...] = (), lane: str = "", small: bool = False
    ) -> Future[_T]:
        """Queue a call; its result or its exception comes out of the future.

        A `small` one may run at the same time as another one, and can look whether it `has_company`. Raises
        RuntimeError once closed.
        """
        future: Future[_T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("The engine is closed.")  # nobody would ever run the call
            if lane not in self._lanes and len(self._lanes) >= _MAX_LANES:
                self._lanes = {name: calls for name, calls in self._lanes.items() if calls}
            if not any(self._lanes.values()):
                self._free_at = self._clock()
            work = _Work(order, next(self._arrivals), self._clock(), call, small, copy_context(), future)
            heappush(self._lanes.setdefault(lane, []), work)
            self._changed.notify_all()
            if small and "small" not in self._roles.values():
                self._fill("small")
        return future

    def run(
        self,
        call: Callable[[], _T],
        *,
        order: tuple[float, ...] = (),
        lane: str = "",
        small: bool = False,
        waits: Callable[[], object] = lambda: None,
    ) -> _T:
        """Return what a call returns once its turn has come, as `submit` does; call `waits` every second until then.

        Whoever waits for the engine is not stuck as long as the engine is not, and `busy_s` tells whether it is.
        """
        future = self.submit(call, order=order, lane=lane, small=small)
        while not wait([future], _SIGN_S).done:
            waits()
        return future.result()

    def close(self) -> None:
        """Run what is queued, then end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        while self._threads:
            thread = self._threads.pop()
            thread.join()

    def _start(self) -> None:
        """Start a spare thread."""
        thread = Thread(target=self._run, name="engine", daemon=True)
        thread.start()
        with self._changed:
            self._threads = {each for each in self._threads if each.is_alive()} | {thread}
            self._spares.append(thread)

    def _fill(self, role: _Role) -> bool:
        """Give a role to a spare thread; return whether there was one."""
        with self._changed:
            if not self._spares:
                return False
            self._roles[self._spares.pop()] = role
            self._changed.notify_all()
            return True

    def _run(self) -> None:
        thread = current_thread()
        with self._changed:
            self._changed.wait_for(lambda: thread in self._roles or self._has_ended())
        self._serve(thread)
        with self._changed:
            self._roles.pop(thread, None)

    def _serve(self, thread: Thread) -> None:
        """Run calls until none will come any more, or another thread has taken over."""
        spoilt = False
        while role := self._roles.get(thread):
            if spoilt and self._fill(role):
                return
            work = self._take(role, timeout_s=self._idle_s)
            if work is None:
                if not self._running:
                    _safely(lambda: self._trim(True))
                work = self._take(role, timeout_s=None)
            if work is None:
                return
            failed = self._complete(work)
            spoilt |= failed
            # Not kept while the thread waits: a call holds a whole image.
            del work
            _safely(lambda: self._trim(False))
            if role == "all" and not failed and len(self._spares) < _SPARES:
                self._replace_spare(thread)

    def _replace_spare(self, thread: Thread) -> None:
        """Start a spare thread, since a call has just had enough memory; if that hangs, `busy_s` tells."""
        self._began[thread] = self._clock()
        with suppress(MemoryError, RuntimeError):
            self._start()
        del self._began[thread]

    def _complete(self, work: _Work) -> bool:
        """Run a call that this thread has taken; return whether it may have spoilt the thread.

        oneDNN keeps the first error of its code generator, such as too little memory, as long as the thread lives, and
        compiles no network for another image size in that thread.
        """
        thread, future, spoilt = current_thread(), work.future, False
        began = self._began[thread]
        waited_s = began - work.submitted_at
        try:
            result = work.context.run(work.call)
        except BaseException as error:  # noqa: BLE001 - whatever a call raises is for its caller
            spoilt = isinstance(error, MemoryError | RuntimeError)
            self._end(thread)
            future.set_exception(error)
            # An error keeps this frame, whose variables would keep it, and the image of the call.
            del work, future
        else:
            self._end(thread)  # first: the caller may submit its next call at once
            future.set_result(result)
        _safely(lambda: self._observe(Stage.ENGINE_WAIT, waited_s))
        _safely(lambda: self._observe(Stage.ENGINE_RUN, self._clock() - began))
        return spoilt

    def _end(self, thread: Thread) -> None:
        with self._changed:
            del self._began[thread], self._running[thread]
            self._free_at = self._clock()
            self._changed.notify_all()

    def _take(self, role: _Role, *, timeout_s: float | None) -> _Work | None:
        """Wait for a call and return it, which then runs; None if none came in time, or no call will come any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended() or self._next(role) is not None, timeout_s)
            lane = self._next(role)
            if lane is None:
                return None
            # The lanes stand in the order of their turns; this one has had its turn now.
            self._lanes[lane] = self._lanes.pop(lane)
            work, thread = heappop(self._lanes[lane]), current_thread()
            self._running[thread] = work
            self._began[thread] = self._clock()
            return work

    def _has_ended(self) -> bool:
        return self._closed and not any(self._lanes.values())

    def _next(self, role: _Role) -> str | None:
        """Return the lane whose turn it is, or None if its next call cannot begin now on this thread."""
        lane = next((name for name, calls in self._lanes.items() if calls), None)
        if lane is None:
            return None
        if self._lanes[lane][0].small:
            return lane if all(work.small for work in self._running.values()) else None
        return lane if role == "all" and not self._running else None


def _safely(call: Callable[[], object]) -> None:
    """Call what an engine does beside its calls: if it ended the thread, all work would wait for ever."""
    try:
        call()
    except Exception:  # noqa: BLE001 - whatever it is, the calls go on
        _log.exception("the engine continues after an error beside its calls")
