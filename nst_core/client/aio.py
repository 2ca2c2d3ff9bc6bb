"""What the asynchronous client does in its own way; `blocking` has the same names for the synchronous one."""

import asyncio
from asyncio import sleep
from asyncio import to_thread as run_io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from nst_core.errors import NstError

__all__ = ["Ear", "Sleep", "run_io", "sleep", "watched"]

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


class Ear:
    """Listens in a task of its own, so that who waits for events can give up at any time."""

    def __init__(self, events: Callable[[], AsyncIterator[object]]) -> None:
        self._events = events
        self._heard = asyncio.Event()
        self._hears = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen from now on, if it does not yet."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="events")

    async def close(self) -> None:
        """Listen no more, and give the connection back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def wait(self, timeout_s: float) -> bool:
        """Return True after an event or the time; at once False where none can be heard."""
        if not self._hears:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._heard.wait()
        self._heard.clear()
        return True

    async def _listen(self) -> None:
        try:
            async for _ in self._events():
                self._hears = True
                self._heard.set()
        except (NstError, RuntimeError):
            pass  # the API has no events, or the client was closed: whoever waits asks by itself
        finally:
            self._hears = False
            self._heard.set()
