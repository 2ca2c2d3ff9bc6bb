"""Prepares the input of the next steps while the current one runs."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Makes the values of steps 0, 1, 2, ... on separate threads, as many steps ahead as there are threads."""

    def __init__(self, make: Callable[[int], T], *, threads: int = 1) -> None:
        """Call `make(step)` on `threads` threads, from the first `take` on."""
        self._make = make
        self._ahead = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
        self._futures: dict[int, Future[T]] = {}

    def wait(self, step: int, *, timeout_s: float) -> bool:
        """Wait up to `timeout_s` and return whether `take` would return a step's value, or raise, without waiting."""
        self._begin(step)
        return not wait([self._futures[step]], timeout=timeout_s).not_done

    def take(self, step: int) -> T:
        """Return the value of a step, any step; what `make` raises for it is raised here."""
        self._begin(step)
        return self._futures.pop(step).result()

    def _begin(self, step: int) -> None:
        """Start a step and the following ones, and cancel all others."""
        wanted = range(step, step + self._ahead + 1)
        for other in [other for other in self._futures if other not in wanted]:
            self._futures.pop(other).cancel()
        for each in wanted:
            if each not in self._futures:
                self._futures[each] = self._pool.submit(self._make, each)

    def close(self) -> None:
        """Drop values that were not taken and wait for the threads to end."""
        self._pool.shutdown(wait=True, cancel_futures=True)
