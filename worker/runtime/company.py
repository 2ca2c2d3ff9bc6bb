"""Which chunks are worked at beside each other: most of them, but one that is to be alone waits until it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

#: Pause between two looks at whether a chunk that waits is still to be begun.
_LOOK_S = 0.5


class Company:
    """Gives chunks their place in a worker. A chunk that took workers before has it for itself.

    If such a chunk kills the worker, no other one dies with it; and it does not die of another one.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._has_loner = False
        #: Chunks that wait to be alone; nobody else comes in before them.
        self._loners = 0

    def must_wait(self, *, alone: bool) -> bool:
        """Return whether there is no place for a chunk now."""
        if alone:
            return self._inside > 0
        return self._has_loner or self._loners > 0

    @contextmanager
    def place(self, *, alone: bool, still: Callable[[], bool]) -> Iterator[bool]:
        """Wait for a place and hold it; yield False without one once `still` returns False, which is asked often."""
        with self._changed:
            self._loners += alone
            while self.must_wait(alone=alone) and still():
                self._changed.wait(_LOOK_S)
            self._loners -= alone
            has_place = not self.must_wait(alone=alone)
            if has_place:
                self._inside += 1
                self._has_loner = alone
            self._changed.notify_all()
        try:
            yield has_place
        finally:
            if has_place:
                with self._changed:
                    self._inside -= 1
                    self._has_loner = self._has_loner and not alone
                    self._changed.notify_all()
