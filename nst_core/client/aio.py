"""What the asynchronous client does in its own way; `blocking` has the same names for the synchronous one."""

import asyncio
from asyncio import sleep
from asyncio import to_thread as run_io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from nst_core.errors import NstError

__all__ = ["Listener", "Sleep", "run_io", "sleep", "watched"]

Sleep = Callable[[float], Awaitable[None]]


@contextmanager
def watched(tell: Callable[[], None] | None, after_s: float) -> Iterator[None]:
    """Call `tell` if the block takes longer than `after_s` seconds."""
    if tell is None:
        yield
        return
    handle = asyncio.get_running_loop().call_later(after_s, tell)
    try:
        yield
    finally:
        handle.cancel()


class Listener:
    """Listens in a task of its own, so that a wait for events can be given up at any time."""

    def __init__(self, events: Callable[[], AsyncIterator[object]]) -> None:
        self._events = events
        self._event = asyncio.Event()
        self._connected = False
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to listen, unless it has started."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="events")

    async def close(self) -> None:
        """Stop listening, and return the connection to the pool."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def wait(self, timeout_s: float, *, poll_s: float) -> bool:
        """Return True after an event, the end of the events, or a time; False at once if no more events come.

        The time is `poll_s` until the first event, because the API may have none, and `timeout_s` afterwards.
        """
        if self._ended and not self._event.is_set():
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s if self._connected else min(timeout_s, poll_s)):
                await self._event.wait()
        self._event.clear()
        return self._connected or not self._ended

    async def _listen(self) -> None:
        try:
            async for _ in self._events():
                self._connected = True
                self._event.set()
        except (NstError, RuntimeError):
            pass  # the API has no events, or the client was closed: the caller polls instead
        finally:
            self._ended = True
            self._event.set()
