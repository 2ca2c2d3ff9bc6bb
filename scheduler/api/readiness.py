"""What a look at everything that the scheduler needs has found, told again for a second."""

import math
import threading
import time
from collections.abc import Callable

from nst_core.clock import Clock

_KEPT_S = 1.0


class Readiness:
    """Lets one thread look at a time, while all others are told what was found last. Safe to share between threads."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        """`clock` gives seconds that only go on."""
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[str, str] = {}
        self._until = -math.inf

    def checks(self, look: Callable[[], dict[str, str]]) -> dict[str, str]:
        """Return what `look` finds, or has found within the last second or the look before that."""
        # Only the first look is waited for: a look takes seconds if something does not answer, and a thread each.
        if not self._lock.acquire(blocking=not self._found):
            return self._found
        try:
            if self._clock() >= self._until:
                self._found = look()
                self._until = self._clock() + _KEPT_S
            return self._found
        finally:
            self._lock.release()
