"""Middleware that measures how soon requests are answered."""

import time
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nst_core.clock import Clock

#: Clients choose the method and the path of a request, so only those that the API knows may become labels.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"


class RequestObserver(Protocol):
    """Receives how soon the response to a request started. It must not raise."""

    def __call__(self, route: str, method: str, status: int, seconds: float, /) -> None:
        """Take note of a request; `route` is the template of its path, such as /v1/jobs/{job_id}."""
        ...


class Measured:
    """Reports each request when its response starts: streams of events and large downloads take as long as clients."""

    def __init__(self, app: ASGIApp, *, observe: RequestObserver, clock: Clock = time.perf_counter) -> None:
        self._app = app
        self._observe = observe
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock()

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", _OTHER)
                method = scope["method"] if scope["method"] in _METHODS else _OTHER
                self._observe(route, method, message["status"], self._clock() - began)
            await send(message)

        await self._app(scope, receive, send_measured)
