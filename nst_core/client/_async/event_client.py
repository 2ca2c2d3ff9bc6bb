"""The part of the client that receives events, for `events` and `wait` of jobs and runs."""

from collections.abc import AsyncGenerator, Callable
from typing import Self

from nst_core.client._async.transport import AsyncTransport
from nst_core.client.aio import Listener, Sleep
from nst_core.client.errors import ApiError, UnreachableError
from nst_core.client.events import EventParser
from nst_core.client.resources.events import Event

#: The API sends something every 15 seconds. After this much silence, the connection counts as lost.
_SILENCE_S = 40.0
#: Seconds between queries of the status, in case events are missed.
_LOOK_S = 15.0


class AsyncEventClient:
    """Reads streams of events."""

    def __init__(self, api: AsyncTransport, *, sleep: Sleep, clock: Callable[[], float]) -> None:
        self._api = api
        self._sleep = sleep
        self._clock = clock

    async def follow(self, path: str, *, after: int = 0) -> AsyncGenerator[Event]:
        """Yield events up to the last one; after a lost connection, continue after the last event that arrived.

        An answer that may pass, such as that of a proxy while the scheduler restarts, counts as a lost connection. In a
        row there are as many tries as other calls have; then, or at once if a repeat cannot help, raises ApiError if
        the API returns an error, UnreachableError if it does not answer.
        """
        failures, most, headers = 0, self._api.retries.most, {"Accept": "text/event-stream"}
        while True:
            before, through, told_s = after, False, 0.0
            try:
                headers["Last-Event-ID"] = str(after)
                async with self._api.lines(path, headers=headers, silence_s=_SILENCE_S) as lines:
                    if lines is None:
                        return
                    parser = EventParser()
                    async for line in lines:
                        event = parser.feed(line)
                        if event is not None:
                            after, through = event.id, event.is_last
                            yield event
            except (ApiError, UnreachableError) as error:
                if not error.retryable or not self._api.retries.reached or (failures >= most and after == before):
                    raise
                told_s = error.retry_after_s if isinstance(error, ApiError) else 0.0
            failures = 0 if after > before else failures + 1
            if failures > most:
                raise UnreachableError("The API ends its stream of events again and again.")
            if not through:
                await self._sleep(max(told_s, min(0.25 * 2**failures, 4.0)))

    async def _end(self, path: str) -> AsyncGenerator[Event]:
        async for event in self.follow(path):
            if event.is_last:
                yield event

    def occasions(
        self, path: str | None, *, poll_s: float, until: float | None = None, polls: bool = False
    ) -> "AsyncOccasions":
        """Return what waits until it is time to look again.

        That is after an event, after 15 seconds without one, and at `until` by the clock. Without a path, or if the API
        sends no events, it is every `poll_s` seconds; if it `polls`, then too, and after the last event.
        """
        listener = None if path is None else Listener(lambda: (self._end if polls else self.follow)(path))
        return AsyncOccasions(listener, sleep=self._sleep, clock=self._clock, poll_s=poll_s, until=until)


class AsyncOccasions:
    """Waits until it is time to look again; listens to events from the first wait to the end of its block."""

    def __init__(
        self, listener: Listener | None, *, sleep: Sleep, clock: Callable[[], float], poll_s: float, until: float | None
    ) -> None:
        self._listener = listener
        self._sleep = sleep
        self._clock = clock
        self._poll_s = poll_s
        self._until = until

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener is not None:
            await self._listener.close()

    async def wait(self) -> None:
        """Return when it is time to look again."""
        if self._listener is not None:
            self._listener.start()
            left_s = _LOOK_S if self._until is None else max(0.0, min(_LOOK_S, self._until - self._clock()))
            if await self._listener.wait(left_s, poll_s=self._poll_s):
                return
        await self._sleep(self._poll_s)
