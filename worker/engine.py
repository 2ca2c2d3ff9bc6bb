"""The engine: one thread that runs networks, for all chunks in flight."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from queue import PriorityQueue
from threading import Thread
from typing import Any, TypeVar

_T = TypeVar("_T")
#: Sorts behind every call.
_LAST = (float("inf"),)


@dataclass(frozen=True, order=True)
class _Work:
    order: tuple[float, ...]
    #: Calls of equal order run in the order of their arrival.
    arrival: int
    call: Callable[[], Any] | None = field(compare=False)
    future: Future[Any] = field(compare=False)


class Engine:
    """Runs calls one at a time on a thread of its own, the lowest order first.

    One image already fills every core or the whole GPU, so a second at its side would only slow both down. And it
    is always the same thread, because OpenMP keeps a team of threads for each one that computes.

    The order lets the oldest chunk go first. Chunks in flight then end one after the other and never at once, and
    there is always one with images ready while another begins or ends.
    """

    def __init__(self) -> None:
        # Needs no limit: whoever submits waits for the result, so there are never more calls than waiting threads.
        self._queue: PriorityQueue[_Work] = PriorityQueue()
        self._arrivals = count()
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """How many calls wait."""
        return self._queue.qsize()

    def submit(self, call: Callable[[], _T], *, order: tuple[float, ...] = ()) -> Future[_T]:
        """Queue a call; its result or its exception comes out of the future."""
        future: Future[_T] = Future()
        self._queue.put(_Work(order, next(self._arrivals), call, future))
        return future

    def close(self) -> None:
        """Run what is queued, then end the thread."""
        self._queue.put(_Work(_LAST, next(self._arrivals), None, Future()))
        self._thread.join()

    def _run(self) -> None:
        while (work := self._queue.get()).call is not None:
            try:
                work.future.set_result(work.call())
            except Exception as error:  # noqa: BLE001 - whatever a call raises is its caller's; the thread lives on
                work.future.set_exception(error)
            # Not kept while the thread waits: a call holds a whole image.
            del work
