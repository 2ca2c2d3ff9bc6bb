"""What the synchronous client does in its own way; `aio` has the same names for the asynchronous one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from typing import ParamSpec, TypeVar

from nst_core.errors import NstError

__all__ = ["Listener", "Sleep", "run_io", "sleep", "watched"]

Sleep = Callable[[float], None]
_P = ParamSpec("_P")
_T = TypeVar("_T")


def run_io(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a function that reads or writes files."""
    return function(*args, **kwargs)


@contextmanager
def watched(tell: Callable[[], None] | None, after_s: float) -> Iterator[None]:
    """Call `tell`, in a thread of its own, if the block takes longer than `after_s` seconds."""
    if tell is None:
        yield
        return
    timer = threading.Timer(after_s, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Listener:
    """Listens in a thread of its own, so that a wait for events can be given up at any time."""

    def __init__(self, events: Callable[[], Iterator[object]]) -> None:
        self._events = events
        self._event = threading.Event()
        self._connected = False
        self._ended = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to listen, unless it has started."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="events", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Listen no more; the thread ends with the next line, or with the process."""
        self._closed = True

    def wait(self, timeout_s: float, *, poll_s: float) -> bool:
        """Return True after an event, the end of the events, or a time; False at once if no more events come.

        The time is `poll_s` until the first event, because the API may have none, and `timeout_s` afterwards.
        """
        if self._ended and not self._event.is_set():
            return False
        self._event.wait(timeout_s if self._connected else min(timeout_s, poll_s))
        self._event.clear()
        return self._connected or not self._ended

    def _listen(self) -> None:
        try:
            for _ in self._events():
                self._connected = True
                self._event.set()
                if self._closed:
                    return
        except (NstError, RuntimeError):
            pass  # the API has no events, or the client was closed: the caller polls instead
        finally:
            self._ended = True
            self._event.set()
