"""Whether the worker still asks for messages: Celery's loop may hang while all working threads are well."""

import time
from collections.abc import Callable
from threading import Event

from nst_core.clock import Clock
from nst_core.errors import BrokerUnavailableError


class Pulse:
    """Notices that the worker no longer polls its queues although Redis answers.

    CPython waits forever for a new thread that has too little memory to start, and Celery starts threads in its loop.
    Nothing else would notice: a worker without work is silent too.
    """

    def __init__(
        self, ping: Callable[[], object], *, stop: Event, patience_s: float = 60.0, clock: Clock = time.monotonic
    ) -> None:
        """Call `ping`, which raises BrokerUnavailableError if Redis does not answer, after `patience_s` without a poll.

        That time should be longer than Celery's pause between attempts to connect, which is up to 32 seconds.
        """
        self._ping = ping
        self._stop = stop
        self._patience_s = patience_s
        self._clock = clock
        self._beat_at: float | None = None
        #: The last beat at the last silent check: a process that was frozen needs time for another beat.
        self._suspected: float | None = None

    def beat(self) -> None:
        """Record that the queues are polled now."""
        self._beat_at = self._clock()

    def is_silent(self) -> bool:
        """Return whether the loop hangs; True only at the second check in a row that finds it hanging.

        False before the first poll, and during the shutdown.
        """
        if self._beat_at is None or self._stop.is_set() or self._clock() - self._beat_at < self._patience_s:
            return False
        try:
            self._ping()
        except BrokerUnavailableError:
            self.beat()  # the loop may need as long again to reconnect
            return False
        if self._clock() - self._beat_at < self._patience_s:
            return False
        before, self._suspected = self._suspected, self._beat_at
        return before == self._beat_at
