"""Whether the worker still asks for messages: Celery's loop may hang while all threads that work are well."""

import time
from collections.abc import Callable
from threading import Event

from nst_core.clock import Clock
from nst_core.errors import BrokerUnavailableError


class Pulse:
    """Tells whether the queues are not looked into any more although Redis answers.

    CPython waits for ever for a thread that it has begun and that finds no memory for its first steps, and Celery
    begins threads in its loop. Nothing else would notice: a worker without work is silent too.
    """

    def __init__(
        self, ping: Callable[[], object], *, stop: Event, patience_s: float = 60.0, clock: Clock = time.monotonic
    ) -> None:
        """`ping` raises BrokerUnavailableError where Redis does not answer; it is called after `patience_s` only.

        It should be longer than Celery's pauses between tries to connect, 32 s at most.
        """
        self._ping = ping
        self._stop = stop
        self._patience_s = patience_s
        self._clock = clock
        self._beat_at: float | None = None
        #: The last beat when this was silent before: a process that was frozen has to have time for another one.
        self._suspected: float | None = None

    def beat(self) -> None:
        """Note that the queues are looked into now."""
        self._beat_at = self._clock()

    def is_silent(self) -> bool:
        """Return whether the loop hangs, at the second look that finds it so.

        False before it has begun, and once it is to end.
        """
        if self._beat_at is None or self._stop.is_set() or self._clock() - self._beat_at < self._patience_s:
            return False
        try:
            self._ping()
        except BrokerUnavailableError:
            self.beat()  # it may take as long again until the loop has found Redis
            return False
        if self._clock() - self._beat_at < self._patience_s:
            return False
        before, self._suspected = self._suspected, self._beat_at
        return before == self._beat_at
