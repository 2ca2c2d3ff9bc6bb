"""Messages that left their queue and were not reported yet, and when they count as lost."""

from collections.abc import Hashable, Iterable
from enum import StrEnum
from typing import Generic, TypeVar

from nst_core.clock import Clock

_K = TypeVar("_K", bound=Hashable)


class Loss(StrEnum):
    """Why an attempt is taken back, as the log says it."""

    WORKER_SILENT = "its worker stopped responding"
    NOT_STARTED = "no worker started it in time"
    MESSAGE_LOST = "its message was lost"

    @property
    def label(self) -> str:
        """The name for metrics."""
        return self.name.lower()


class LostMessages(Generic[_K]):
    """Remembers since when messages are missing, by a key for each attempt."""

    def __init__(self, *, clock: Clock, lost_after_s: float) -> None:
        """A message that is missing for `lost_after_s` is lost: a worker that has it reports at once."""
        self._clock = clock
        self._lost_after_s = lost_after_s
        self._since: dict[_K, float] = {}

    def lost(self, missing: Iterable[_K], *, now: float) -> set[_K]:
        """Return which of the missing messages are lost.

        `now` is the time until which all reports of workers are known. Call this right after reading the queue:
        a message is missing from then on, and reports until then must be known first.
        """
        seen_at = self._clock()
        self._since = {key: self._since.get(key, seen_at) for key in missing}
        return {key for key, since in self._since.items() if now - since >= self._lost_after_s}

    def forget(self) -> None:
        """Forget what is missing, for example after a time in which the queue was not read."""
        self._since.clear()


def reason(*, begun: bool, lease_until: float | None, now: float) -> Loss:
    """Return why an attempt is taken back."""
    if begun:
        return Loss.WORKER_SILENT
    return Loss.NOT_STARTED if (lease_until or 0.0) < now else Loss.MESSAGE_LOST
