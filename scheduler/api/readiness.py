"""Caches the result of the readiness check for one second."""

import math
import threading
import time
from collections.abc import Callable

from nst_core.clock import Clock

_KEPT_S = 1.0
#: A check that takes longer than this has found that something does not answer. Its parts give up sooner by themselves.
_LATE_S = 10.0


class Readiness:
    """Runs the check in one thread at a time; meanwhile other threads get the previous result.

    Safe to share between threads.
    """

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[str, str] = {}
        self._until = -math.inf
        self._began = math.inf

    def checks(self, look: Callable[[], dict[str, str]]) -> dict[str, str]:
        """Return the result of `look`, or the previous one if it is less than a second old or a check is running.

        If that check takes too long, `readiness` is `timed_out` in addition.
        """
        # Wait only for the first check: a check can take seconds, and each waiting request occupies a thread.
        if not self._lock.acquire(timeout=0 if self._found else _LATE_S):
            if self._found and self._clock() - self._began < _LATE_S:
                return self._found
            return {**self._found, "readiness": "timed_out"}
        try:
            if self._clock() >= self._until:
                self._began = self._clock()
                self._found = look()
                self._until = self._clock() + _KEPT_S
            return self._found
        finally:
            self._lock.release()
