"""The end of a worker that cannot work for a reason of its own, such as wrong credentials or a full disk."""

import logging
import os
import signal
from collections.abc import Callable
from threading import Lock
from typing import NoReturn

from worker.runtime.outcomes import InterruptedWorkError

_log = logging.getLogger(__name__)
#: Exit codes, as `sysexits.h` numbers them. The storage refuses this worker, whatever it asks for.
EX_NOPERM = 77
#: A disk of this machine fails.
EX_IOERR = 74


class Retirement:
    """Ends the worker in good order: it takes no more work, and gives back what it has, which counts against nothing.

    A worker that went on would fail all that it takes, and fast, and so take more than all others.
    """

    def __init__(self, end: Callable[[], object] = lambda: os.kill(os.getpid(), signal.SIGTERM)) -> None:
        """`end` begins the usual shutdown."""
        self._end = end
        self._lock = Lock()
        self._code: int | None = None

    @property
    def code(self) -> int | None:
        """The exit code; None as long as the worker is not to retire."""
        return self._code

    def retire(self, reason: str, *, code: int) -> NoReturn:
        """Begin the end, unless it has begun, and raise InterruptedWorkError for the work in hand."""
        with self._lock:
            first = self._code is None
            if first:
                self._code = code
        if first:
            _log.critical("%s; it gives its work back, and ends with exit code %d", reason, code)
            self._end()
        raise InterruptedWorkError
