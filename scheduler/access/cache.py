"""A cache for some seconds, so that not every request reads the database."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from nst_core.clock import Clock

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class TimedCache(Generic[_K, _V]):
    """Values by key, each for `ttl_s` seconds. Safe to share between threads."""

    def __init__(self, *, ttl_s: float, clock: Clock, max_entries: int = 10_000) -> None:
        """Beyond `max_entries`, the oldest entries are dropped, so that clients cannot fill the memory."""
        self._ttl_s = ttl_s
        self._clock = clock
        self._max_entries = max_entries
        self._entries: OrderedDict[_K, tuple[float, _V]] = OrderedDict()
        #: Bumped by `drop`, so a value loaded before the drop is not cached after it.
        self._generation = 0
        self._lock = threading.Lock()

    def get(self, key: _K, load: Callable[[], _V]) -> _V:
        """Return the value of a key. Call `load` if it is missing or too old; its errors are raised."""
        now = self._clock()
        with self._lock:
            found = self._entries.get(key)
            generation = self._generation
        # If the clock was set back, entries must not live longer.
        if found is not None and found[0] <= now < found[0] + self._ttl_s:
            return found[1]
        value = load()
        with self._lock:
            if generation == self._generation:
                self._entries.pop(key, None)
                self._entries[key] = (now, value)
                if len(self._entries) > self._max_entries:
                    self._entries.popitem(last=False)
        return value

    def drop(self, key: _K) -> None:
        """Forget the value of a key."""
        with self._lock:
            self._generation += 1
            self._entries.pop(key, None)
