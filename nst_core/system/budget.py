"""A budget of bytes, or of pixels, that threads share."""

from bisect import insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Condition
from types import TracebackType
from typing import Self

#: Seconds between two calls of what a thread that waits calls.
_SIGN_S = 1.0


def _no_sign() -> None:
    pass


class Budget:
    """Lets threads take parts of it, the lowest order first, and of equal orders the one that asked first.

    So a large request is never overtaken by later ones. A request for more than the total counts as the total.
    """

    def __init__(self, total: int) -> None:
        """Allow `total` bytes or pixels to be taken at the same time."""
        self._total = total
        self._free = total
        self._arrivals = count()
        #: The orders and arrivals of the threads that wait, in the order of their turns.
        self._turns: list[tuple[float, int]] = []
        self._changed = Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Wait for `amount` and hold it during the `with` block."""
        self.take(amount)
        try:
            yield
        finally:
            self.give_back(amount)

    def take(
        self, amount: int, *, order: float = 0.0, wait: bool = True, waits: Callable[[], object] = _no_sign
    ) -> bool:
        """Take `amount`; unless `wait`, only if it is free and nobody waits. Return whether it was taken.

        `waits` is called about every second during a wait. It must be short, since nobody can take anything meanwhile.
        """
        amount = self._clamped(amount)
        with self._changed:
            if not wait and (self._turns or self._free < amount):
                return False
            turn = order, next(self._arrivals)
            insort(self._turns, turn)
            try:
                while self._turns[0] != turn or self._free < amount:
                    self._changed.wait(_SIGN_S)
                    waits()
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


class Share:
    """What one thread holds of a budget until the end of a `with` block.

    Work that is tried again takes the same amount once more and has it already: it does not wait a second time.
    """

    def __init__(self, budget: Budget, *, order: float = 0.0, waits: Callable[[], object] = _no_sign) -> None:
        """Hold nothing yet; see `Budget.take`."""
        self._budget = budget
        self._order = order
        self._waits = waits
        self._amount = 0

    def take(self, amount: int, *, wait: bool = True) -> bool:
        """Hold `amount`, and nothing else; see `Budget.take`."""
        if amount == self._amount:
            return True
        self.give_back()
        taken = self._budget.take(amount, order=self._order, wait=wait, waits=self._waits)
        self._amount = amount if taken else 0
        return taken

    def give_back(self) -> None:
        """Hold nothing any more."""
        amount, self._amount = self._amount, 0
        if amount:
            self._budget.give_back(amount)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
