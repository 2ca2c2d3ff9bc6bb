"""Threads of the API for calls that take long, apart from those of other routes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

#: More would only compete for Python's GIL.
_PARSERS = 4
#: Twice as many as one tenant may have files on their way (`admission.MOST_FILES_OF_ONE`).
_SENDERS = 64
_parsers: RunVar[anyio.CapacityLimiter] = RunVar("nst_parsers")
_senders: RunVar[anyio.CapacityLimiter] = RunVar("nst_senders")


async def parse(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that parses a body."""
    return await _run(_parsers, _PARSERS, partial(function, *args))


async def send(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that sends files to the storage, or reads many objects there."""
    return await _run(_senders, _SENDERS, partial(function, *args))


async def _run(pool: RunVar[anyio.CapacityLimiter], most: int, call: Callable[[], Any]) -> Any:
    try:
        limiter = pool.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(most)
        pool.set(limiter)
    return await anyio.to_thread.run_sync(call, limiter=limiter)
