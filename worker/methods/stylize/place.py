"""The place of a chunk among those of this process, while their images wait for each other."""

from collections.abc import Callable

from nst_core.system.budget import Budget, Share


class Traffic:
    """Tells whether any image of any chunk gets on."""

    def __init__(self) -> None:
        self._last = object()

    def move(self) -> None:
        """Record that an image gets on."""
        self._last = object()

    def follow(self, then: Callable[[], object]) -> Callable[[], None]:
        """Return a function that calls `then` if an image has got on since it was called last."""
        seen = self._last

        def look() -> None:
            nonlocal seen
            if seen is not (last := self._last):
                seen = last
                then()

        return look


class Place:
    """A chunk's place: older chunks go first, in the engine and where room is given.

    The watchdog wants to see progress of the oldest chunk. An image that waits for room makes none of its own, but it
    gets room when those that hold it get on. If they are stuck, the chunk shows no progress either.
    """

    def __init__(self, order: int, *, touch: Callable[[], object], traffic: Traffic) -> None:
        """The lowest `order` goes first. `touch` records that the chunk is not stuck."""
        self.order = order
        self._touch = touch
        self._traffic = traffic

    def touch(self) -> None:
        """Record that an image of the chunk gets on."""
        self._traffic.move()
        self._touch()

    def share(self, budget: Budget) -> Share:
        """Return a share for an image of the chunk, which holds nothing yet."""
        return Share(budget, order=self.order, waits=self._traffic.follow(self._touch))
