"""The engine: one thread that runs networks, for all chunks in flight."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from threading import Condition, Thread
from typing import Any, TypeVar

from nst_core.clock import Clock

_T = TypeVar("_T")
#: Lanes that are empty keep the place of their turn up to this number: whose next call comes after each answer does
#: not queue up anew.
_MAX_LANES = 64


@dataclass(frozen=True, order=True)
class _Work:
    order: tuple[float, ...]
    #: Calls of equal order run in the order of their arrival.
    arrival: int
    call: Callable[[], Any] = field(compare=False)
    future: Future[Any] = field(compare=False)


class Engine:
    """Runs calls one at a time on a thread of its own: lanes take turns, and in a lane the lowest order goes first.

    One image already fills every core or the whole GPU, so a second at its side would only slow both down. And it
    is always the same thread, because OpenMP keeps a team of threads for each one that computes; only after a failure
    it is a new one.

    The order lets the oldest chunk go first. Chunks in flight then end one after the other and never at once, and
    there is always one with images ready while another begins or ends.

    The lanes keep short work and long work from waiting for each other: between two iterations of an optimisation
    there is an image of a bulk job, and after each image an iteration. Each bulk job has a lane of its own, so that one
    of ten images goes on at half its speed beside one of a million.
    """

    def __init__(
        self,
        *,
        trim: Callable[[bool], object] = lambda idle: None,
        idle_s: float = 2.0,
        clock: Clock = time.monotonic,
    ) -> None:
        """`trim` gives freed memory back. It is called after each call, and with True after `idle_s` without one."""
        self._trim = trim
        self._idle_s = idle_s
        self._clock = clock
        #: When the call began that runs now.
        self._began: float | None = None
        # Needs no limit: whoever submits waits for the result, so there are never more calls than waiting threads.
        self._lanes: dict[str, list[_Work]] = {}
        self._changed = Condition()
        self._closed = False
        self._arrivals = count()
        self._start()

    @property
    def queued(self) -> int:
        """How many calls wait."""
        with self._changed:
            return sum(map(len, self._lanes.values()))

    @property
    def busy_s(self) -> float:
        """For how many seconds the present call has run; 0 where none runs."""
        began = self._began
        return 0.0 if began is None else self._clock() - began

    def submit(self, call: Callable[[], _T], *, order: tuple[float, ...] = (), lane: str = "") -> Future[_T]:
        """Queue a call; its result or its exception comes out of the future. Raises RuntimeError once closed."""
        future: Future[_T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("The engine is closed.")  # nobody would ever run the call
            if lane not in self._lanes and len(self._lanes) >= _MAX_LANES:
                self._lanes = {name: calls for name, calls in self._lanes.items() if calls}
            heappush(self._lanes.setdefault(lane, []), _Work(order, next(self._arrivals), call, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Run what is queued, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        thread = None
        while thread is not self._thread:
            thread = self._thread
            thread.join()

    def _start(self) -> None:
        thread = Thread(target=self._run, name="engine", daemon=True)
        # Until it is known as the engine's thread it takes no call, after which there might be yet another one.
        with self._changed:
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        spoilt = False
        while not (spoilt and self._hand_over()):
            work = self._take(timeout_s=self._idle_s)
            if work is None:
                self._trim(True)
                work = self._take(timeout_s=None)
            if work is None:
                return
            self._began = self._clock()
            try:
                work.future.set_result(work.call())
            except Exception as error:  # noqa: BLE001 - whatever a call raises is its caller's
                spoilt = spoilt or isinstance(error, MemoryError | RuntimeError)
                work.future.set_exception(error)
            self._began = None
            # Not kept while the thread waits: a call holds a whole image.
            del work
            self._trim(False)

    def _hand_over(self) -> bool:
        """Let a new thread go on; return whether there is one.

        oneDNN keeps the first error of its code generator, such as a want of memory, for as long as the thread lives,
        and compiles no network for another size of image in it.
        """
        try:
            self._start()
        except (MemoryError, RuntimeError):
            return False  # no memory for a thread either; again after the next call
        return True

    def _take(self, *, timeout_s: float | None) -> _Work | None:
        """Wait for a call and return it; None if none came in time, or the engine is closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or any(self._lanes.values()), timeout_s)
            for lane, calls in self._lanes.items():
                if calls:
                    # The lanes stand in the order of their turns; this one has had its turn now.
                    self._lanes[lane] = self._lanes.pop(lane)
                    return heappop(calls)
            return None
