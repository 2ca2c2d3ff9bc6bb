"""A budget of bytes that threads share."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class ByteBudget:
    """Lets threads take bytes in the order in which they ask, so that a large request is never overtaken."""

    def __init__(self, total: int) -> None:
        """Allow `total` bytes to be taken at the same time."""
        self._total = total
        self._free = total
        self._turns: deque[object] = deque()
        self._changed = Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Wait for `amount` bytes and hold them during the `with` block; more than the total counts as the total."""
        amount = min(max(amount, 0), self._total)
        turn = object()
        with self._changed:
            self._turns.append(turn)
            try:
                self._changed.wait_for(lambda: self._turns[0] is turn and self._free >= amount)
                self._free -= amount
            finally:
                self._turns.remove(turn)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
