"""What was sent to workers, is in no queue any more, and is not heard of: a worker has it, or it is lost."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from nst_core.clock import Clock

_K = TypeVar("_K", bound=Hashable)


class LostMessages(Generic[_K]):
    """Remembers since when messages are missed, by a key that tells one attempt from another."""

    def __init__(self, *, clock: Clock, lost_after_s: float) -> None:
        """A message that is missed for so long is lost: whoever has it says so at once."""
        self._clock = clock
        self._lost_after_s = lost_after_s
        self._since: dict[_K, float] = {}

    def lost(self, missing: Iterable[_K], *, now: float) -> set[_K]:
        """Return which of the messages that are missed now are lost.

        `now` is the time up to which it is known what workers said. To be called right after the queue was looked
        into: messages are missed since then by the clock, for what was said until then has to be known first.
        """
        seen_at = self._clock()
        self._since = {key: self._since.get(key, seen_at) for key in missing}
        return {key for key, since in self._since.items() if now - since >= self._lost_after_s}

    def forget(self) -> None:
        """Forget what was seen: what is in no queue when that is looked into again may have been until then."""
        self._since.clear()
