"""Tests of nst_core.client.aio."""

import asyncio
from collections.abc import AsyncIterator

from nst_core.client.aio import Listener
from nst_core.client.errors import UnreachableError


async def listen(*events: str) -> Listener:
    """Return a listener that heard some events before their stream ended."""

    async def stream() -> AsyncIterator[str]:
        for event in events:
            yield event
        raise UnreachableError("The stream ended.")

    listener = Listener(stream)
    listener.start()
    assert listener._task is not None
    await listener._task
    return listener


def test_an_event_counts_even_if_no_more_come() -> None:
    async def waits() -> list[bool]:
        listener = await listen("job.finalizing", "job.completed")
        return [await listener.wait(60, poll_s=60) for _ in range(2)]

    assert asyncio.run(waits()) == [True, False]


def test_a_stream_without_events_is_no_occasion() -> None:
    async def waits() -> list[bool]:
        listener = await listen()
        return [await listener.wait(60, poll_s=60) for _ in range(2)]

    assert asyncio.run(waits()) == [False, False]
