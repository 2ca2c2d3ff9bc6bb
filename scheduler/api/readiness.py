"""Caches the result of the readiness check for one second."""

import math
import threading
import time
from collections.abc import Callable

from nst_core.clock import Clock

_KEPT_S = 1.0


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

    def checks(self, look: Callable[[], dict[str, str]]) -> dict[str, str]:
        """Return the result of `look`, or the previous one if it is less than a second old or a check is running."""
        # Wait only for the first check: a check can take seconds, and each waiting request occupies a thread.
        if not self._lock.acquire(blocking=not self._found):
            return self._found
        try:
            if self._clock() >= self._until:
                self._found = look()
                self._until = self._clock() + _KEPT_S
            return self._found
        finally:
            self._lock.release()
