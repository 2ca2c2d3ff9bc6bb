"""What a thread does while it waits for something that may take long, so that its work is not taken for stuck."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_sign: ContextVar[Callable[[], object] | None] = ContextVar("sign", default=None)


@contextmanager
def signs(sign: Callable[[], object]) -> Iterator[None]:
    """Let what waits in the block call `sign` about every second."""
    token = _sign.set(sign)
    try:
        yield
    finally:
        _sign.reset(token)


def give_sign() -> None:
    """Say that the present thread waits, and is not stuck."""
    if (sign := _sign.get()) is not None:
        sign()
