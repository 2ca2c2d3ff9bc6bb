"""Setbacks: if work on one job, run or webhook fails, that work waits and all other work continues.

A control loop does each piece of work through `Setbacks.attempt`. If the piece fails, this logs the error once, and
tries the piece again after a pause that doubles up to `longest_s`. Errors of the database and of Redis are raised:
they affect all work, so the loop itself waits.
"""

import logging
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from nst_core.clock import Clock
from nst_core.errors import BrokerUnavailableError, NstError
from nst_core.system.logs import Ids, about
from scheduler.store.errors import DatabaseUnavailableError

log = logging.getLogger(__name__)

FIRST_S, LONGEST_S = 2.0, 60.0
_FORGET_S = 600.0
_K = TypeVar("_K", bound=Hashable)


@dataclass
class _Setback:
    failures: int
    not_before: float
    reason: str


def of_job(job_id: str) -> Ids:
    """Return the ids of log lines about a job."""
    return Ids(job_id=job_id)


def of_chunk(chunk_id: int) -> Ids:
    """Return the ids of log lines about a chunk."""
    return Ids(chunk_id=chunk_id)


def of_run(run_id: str) -> Ids:
    """Return the ids of log lines about a run."""
    return Ids(run_id=run_id)


class Setbacks(Generic[_K]):
    """Keeps what failed apart from what did not, by a key such as a job's id."""

    def __init__(
        self,
        name: str,
        *,
        ids: Callable[[_K], Ids] = lambda key: Ids(),
        timer: Clock = time.monotonic,
        first_s: float = FIRST_S,
        longest_s: float = LONGEST_S,
    ) -> None:
        """`name` says in the log what is done, such as "planning"; `timer` is a steady clock.

        `ids` are those of all log lines of the work for a key.

        The first pause takes `first_s` seconds; each further failure in a row doubles it, up to `longest_s`.
        """
        self._name = name
        self._ids = ids
        self._timer = timer
        self._first_s = first_s
        self._longest_s = longest_s
        self._known: dict[_K, _Setback] = {}

    def is_ready(self, key: _K) -> bool:
        """Return whether the work for a key may be tried now."""
        setback = self._known.get(key)
        return setback is None or setback.not_before <= self._timer()

    def waiting(self) -> list[_K]:
        """Return the keys whose pause is not over: a query for work that has a limit should leave them out."""
        return [key for key in self._known if not self.is_ready(key)]

    def attempt(self, key: _K, work: Callable[[], bool]) -> bool:
        """Do the work for a key and return its result; return False if it fails, or if its pause is not over.

        DatabaseUnavailableError and BrokerUnavailableError are raised. Any other exception stays here.
        """
        if not self.is_ready(key):
            return False
        with about(**self._ids(key)):
            try:
                result = work()
            except (DatabaseUnavailableError, BrokerUnavailableError):
                raise
            except Exception as error:  # noqa: BLE001  A fault of one job may not stop the others
                self.note(key, error)
                return False
            if self._known.pop(key, None) is not None:
                log.info("The %s of %s works again", self._name, key)
            return result

    def attempt_each(self, keys: Iterable[_K], work: Callable[[_K], bool]) -> bool:
        """Do the work for each of the keys as `attempt` does; return whether any of it returned True."""
        done = [self.attempt(key, partial(work, key)) for key in keys]
        return any(done)

    def note(self, key: _K, error: Exception) -> None:
        """Let the work for a key wait because of an error, and log the error unless it is the same as before."""
        before = self._known.get(key)
        failures = 1 if before is None else before.failures + 1
        pause_s = min(self._longest_s, self._first_s * 2.0 ** min(failures - 1, 30))
        reason = error.message if isinstance(error, NstError) else f"{type(error).__name__}: {error}"
        if before is None or before.reason != reason:
            expected = isinstance(error, NstError | OSError)
            message = "The %s of %s failed and is tried again after a pause: %s"
            log.warning(message, self._name, key, reason, exc_info=None if expected else error)
        now = self._timer()
        # What was not tried again for long is done or gone.
        self._known = {key: each for key, each in self._known.items() if each.not_before + _FORGET_S > now}
        self._known[key] = _Setback(failures=failures, not_before=now + pause_s, reason=reason)
