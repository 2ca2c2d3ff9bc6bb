"""The engine: one thread that runs networks, for all work in flight."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from threading import Condition, Thread
from typing import Any, TypeVar

from nst_core.clock import Clock
from nst_core.metrics import Observer, Stage, ignore

_T = TypeVar("_T")
#: Empty lanes keep their turn (up to this many), so that a caller with one call at a time does not go to the back.
_MAX_LANES = 64


@dataclass(frozen=True, order=True)
class _Work:
    order: tuple[float, ...]
    #: Calls of equal order run in the order of their arrival.
    arrival: int
    submitted_at: float = field(compare=False)
    call: Callable[[], Any] = field(compare=False)
    #: That of the submission: log lines inside the call name its chunk and its image.
    context: Context = field(compare=False)
    future: Future[Any] = field(compare=False)


class Engine:
    """Runs calls one at a time on a thread of its own. Lanes take turns; in a lane the lowest order goes first.

    One image already fills every core or the whole GPU, so that a second one at the same time would only slow both
    down. It is always the same thread, because OpenMP keeps a team of threads for each thread that computes; only
    after a failure it is a new one.

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
        """`trim` gives freed memory back. It is called after each call, and with True after `idle_s` without one.

        `observe` receives how long each call waited and ran.
        """
        self._trim = trim
        self._idle_s = idle_s
        self._observe = observe
        self._clock = clock
        #: When the present call began.
        self._began: float | None = None
        # Needs no limit: whoever submits waits for the result, so that there are never more calls than callers.
        self._lanes: dict[str, list[_Work]] = {}
        self._changed = Condition()
        self._closed = False
        self._arrivals = count()
        self._start()

    @property
    def queued(self) -> int:
        """The number of calls that wait."""
        with self._changed:
            return sum(map(len, self._lanes.values()))

    @property
    def busy_s(self) -> float:
        """How many seconds ago the present call began or proceeded; 0 if none runs."""
        began = self._began
        return 0.0 if began is None else self._clock() - began

    def proceed(self) -> None:
        """Record that the present call is at work, so that `busy_s` begins again; for calls that take minutes."""
        if self._began is not None:
            self._began = self._clock()

    def submit(self, call: Callable[[], _T], *, order: tuple[float, ...] = (), lane: str = "") -> Future[_T]:
        """Queue a call; its result or its exception comes out of the future. Raises RuntimeError once closed."""
        future: Future[_T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("The engine is closed.")  # nobody would ever run the call
            if lane not in self._lanes and len(self._lanes) >= _MAX_LANES:
                self._lanes = {name: calls for name, calls in self._lanes.items() if calls}
            work = _Work(order, next(self._arrivals), self._clock(), call, copy_context(), future)
            heappush(self._lanes.setdefault(lane, []), work)
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
        # It takes no call before it is known as the engine's thread, because such a call might start another thread.
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
            began = self._began = self._clock()
            self._observe(Stage.ENGINE_WAIT, began - work.submitted_at)
            try:
                work.future.set_result(work.context.run(work.call))
            except Exception as error:  # noqa: BLE001 - whatever a call raises is for its caller
                spoilt = spoilt or isinstance(error, MemoryError | RuntimeError)
                work.future.set_exception(error)
            self._began = None
            self._observe(Stage.ENGINE_RUN, self._clock() - began)
            # Not kept while the thread waits: a call holds a whole image.
            del work
            self._trim(False)

    def _hand_over(self) -> bool:
        """Start a new thread that continues the work; return whether that was possible.

        oneDNN keeps the first error of its code generator, such as too little memory, as long as the thread lives, and
        compiles no network for another image size in that thread.
        """
        try:
            self._start()
        except (MemoryError, RuntimeError):
            return False  # no memory for a thread either; try again after the next call
        return True

    def _take(self, *, timeout_s: float | None) -> _Work | None:
        """Wait for a call and return it; None if none came in time, or if the engine is closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or any(self._lanes.values()), timeout_s)
            for lane, calls in self._lanes.items():
                if calls:
                    # The lanes stand in the order of their turns; this one has had its turn now.
                    self._lanes[lane] = self._lanes.pop(lane)
                    return heappop(calls)
            return None
