"""Synchronous and asynchronous clients with the same calls, so that one test covers both."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, cast

from nst_core.client import AsyncClient, Client

#: Makes a client. It has the parameters of `Client`.
Connect = Callable[..., Client]


def connect_async(runner: asyncio.Runner) -> Connect:
    """Return a function that makes asynchronous clients with synchronous calls."""

    def connect(*args: Any, sleep: Callable[[float], None] | None = None, **options: Any) -> Client:
        if sleep is not None:
            # In a thread, so that a call that really sleeps blocks nothing else.
            options["sleep"] = lambda seconds: asyncio.to_thread(sleep, seconds)
        return cast(Client, _Steered(AsyncClient(*args, **options), runner))

    return connect


class _Steered:
    """An asynchronous client, or a part of one. Each call runs to its end."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __enter__(self) -> "_Steered":
        self._runner.run(self._target.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._runner.run(self._target.__aexit__(*error))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if callable(value):
            return lambda *args, **options: self._settled(value(*args, **options))
        return value if isinstance(value, str) else _Steered(value, self._runner)

    def _settled(self, result: Any) -> Any:
        if inspect.iscoroutine(result):
            return self._runner.run(result)
        return self._stepped(result) if isinstance(result, AsyncGenerator) else result

    def _stepped(self, values: AsyncGenerator[Any]) -> Iterator[Any]:
        try:
            while (value := self._runner.run(_after(values))) is not None:
                yield value
        finally:
            self._runner.run(values.aclose())


async def _after(values: AsyncGenerator[Any]) -> Any:
    return await anext(values, None)
