"""Tests of scheduler.api.threads."""

import threading
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.to_thread
import pytest

from scheduler.api import threads


@pytest.mark.parametrize("slow", [threads.parse, threads.send])
def test_calls_that_take_long_leave_the_threads_of_routes_alone(slow: Callable[..., Coroutine[Any, Any, Any]]) -> None:
    over = threading.Event()

    async def run() -> str:
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(slow, over.wait, 60)
            with anyio.fail_after(30):
                answer = await anyio.to_thread.run_sync(lambda: "at once")
            over.set()
        return answer

    assert anyio.run(run) == "at once"


def test_calls_return_what_the_function_returns() -> None:
    async def run() -> tuple[int, int]:
        return await threads.parse(int, "7"), await threads.send(max, 3, 8)

    assert anyio.run(run) == (7, 8)
