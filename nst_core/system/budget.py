"""A budget of bytes, or of pixels, that threads share."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Budget:
    """Lets threads take parts of it in the order in which they ask, so that a large request is never overtaken.

    A request for more than the total counts as the total.
    """

    def __init__(self, total: int) -> None:
        """Allow `total` bytes or pixels to be taken at the same time."""
        self._total = total
        self._free = total
        self._turns: deque[object] = deque()
        self._changed = Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Wait for `amount` and hold it during the `with` block."""
        self.take(amount)
        try:
            yield
        finally:
            self.give_back(amount)

    def take(self, amount: int, *, wait: bool = True) -> bool:
        """Take `amount`; unless `wait`, only if it is free and nobody waits. Return whether it was taken."""
        amount, turn = self._clamped(amount), object()
        with self._changed:
            if not wait and (self._turns or self._free < amount):
                return False
            self._turns.append(turn)
            try:
                self._changed.wait_for(lambda: self._turns[0] is turn and self._free >= amount)
                self._free -= amount
            finally:
                self._turns.remove(turn)
                self._changed.notify_all()
        return True

    def give_back(self, amount: int) -> None:
        """Return the `amount` of one `take`."""
        with self._changed:
            self._free += self._clamped(amount)
            self._changed.notify_all()

    def _clamped(self, amount: int) -> int:
        return min(max(amount, 0), self._total)
