"""Which chunks run side by side: most of them, but a chunk that may have killed workers runs alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

#: Pause between two checks whether a chunk that waits is still wanted.
_CHECK_S = 0.5


class Isolation:
    """Admits chunks to a worker. A chunk that took workers down before has the worker to itself.

    If such a chunk kills the worker, no other chunk dies with it, and no other chunk can be the reason.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._isolated = False
        #: Chunks that wait to run alone; no other chunk may enter before them.
        self._waiting_alone = 0

    def must_wait(self, *, alone: bool) -> bool:
        """Return whether a chunk cannot enter now."""
        if alone:
            return self._inside > 0
        return self._isolated or self._waiting_alone > 0

    @contextmanager
    def enter(self, *, alone: bool, still: Callable[[], bool]) -> Iterator[bool]:
        """Wait until a chunk may run and hold its place; yield False instead once `still` returns False.

        `still` is called every half second.
        """
        with self._changed:
            self._waiting_alone += alone
            while self.must_wait(alone=alone) and still():
                self._changed.wait(_CHECK_S)
            self._waiting_alone -= alone
            entered = not self.must_wait(alone=alone)
            if entered:
                self._inside += 1
                self._isolated = alone
            self._changed.notify_all()
        try:
            yield entered
        finally:
            if entered:
                with self._changed:
                    self._inside -= 1
                    self._isolated = self._isolated and not alone
                    self._changed.notify_all()
