"""Long work in pieces, so that other work can run in between."""

from collections.abc import Callable
from typing import Protocol, TypeVar

_T = TypeVar("_T")


class Runner(Protocol):
    """Runs a part of the work and returns its result."""

    def __call__(self, piece: Callable[[], _T], /) -> _T: ...


def at_once(piece: Callable[[], _T], /) -> _T:
    """Run a part of the work immediately."""
    return piece()
