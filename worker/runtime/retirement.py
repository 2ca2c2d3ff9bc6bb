"""The orderly end of a worker that cannot work, for example because of wrong credentials or a full disk."""

import logging
import os
import signal
from collections.abc import Callable
from threading import Lock
from typing import NoReturn

from worker.runtime.outcomes import InterruptedWorkError

_log = logging.getLogger(__name__)
#: Exit codes, with the numbers of `sysexits.h`. The storage refuses every request of this worker.
EX_NOPERM = 77
#: A disk of this machine failed.
EX_IOERR = 74


class Retirement:
    """Ends the worker: it takes no more work and returns its work to the queue, which counts as no failure.

    If such a worker continued, it would fail all its work quickly, and so take more work than all healthy workers.
    """

    def __init__(self, end: Callable[[], object] = lambda: os.kill(os.getpid(), signal.SIGTERM)) -> None:
        """`end` starts the normal shutdown."""
        self._end = end
        self._lock = Lock()
        self._code: int | None = None

    @property
    def code(self) -> int | None:
        """The exit code, or None if the worker does not retire."""
        return self._code

    def retire(self, reason: str, *, code: int) -> NoReturn:
        """Start the shutdown, unless it has started, and raise InterruptedWorkError for the caller's work."""
        with self._lock:
            first = self._code is None
            if first:
                self._code = code
        if first:
            _log.critical("%s; it returns its work to the queue and ends with exit code %d", reason, code)
            self._end()
        raise InterruptedWorkError
