"""Which chunks run side by side: most of them, but a chunk that may have killed workers runs alone."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

from nst_core.clock import Clock

#: Pause between two checks whether a chunk that waits is still wanted.
_CHECK_S = 0.5
#: How long a chunk that must be alone waits for long work, which may take hours: another worker may have none.
_PATIENCE_S = 60.0


class Isolation:
    """Admits chunks to a worker. A chunk that took workers down before has the worker to itself.

    If such a chunk kills the worker, no other chunk dies with it, and no other chunk can be the reason.
    """

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._changed = Condition()
        #: Chunks that run, and those among them that may take hours.
        self._inside = self._long = 0
        self._isolated = False
        #: Chunks that wait to run alone. No other chunk may enter before them, except that short ones do not stand
        #: still as long as there is a long one inside.
        self._waiting_alone = 0

    def must_wait(self, *, alone: bool, is_long: bool = False) -> bool:
        """Return whether a chunk, which may be one that takes hours, cannot enter now."""
        if alone:
            return self._inside > 0
        return self._isolated or (self._waiting_alone > 0 and (is_long or not self._long))

    @contextmanager
    def enter(self, *, alone: bool, still: Callable[[], bool], is_long: bool = False) -> Iterator[bool]:
        """Wait until a chunk may run and hold its place; yield False instead once `still` returns False.

        `still` is called every half second. A chunk that must be alone also gets False if there is long work for a
        minute, and should be given back.
        """
        give_up_at = self._clock() + _PATIENCE_S
        with self._changed:
            self._waiting_alone += alone
            while self.must_wait(alone=alone, is_long=is_long) and still():
                if alone and self._long and self._clock() >= give_up_at:
                    break
                self._changed.wait(_CHECK_S)
            self._waiting_alone -= alone
            entered = not self.must_wait(alone=alone, is_long=is_long)
            if entered:
                self._inside += 1
                self._long += is_long
                self._isolated = alone
            self._changed.notify_all()
        try:
            yield entered
        finally:
            if entered:
                with self._changed:
                    self._inside -= 1
                    self._long -= is_long
                    self._isolated = self._isolated and not alone
                    self._changed.notify_all()
