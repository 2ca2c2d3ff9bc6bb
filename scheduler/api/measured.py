"""Middleware that measures how soon requests are answered, and records them in traces."""

import time
from contextlib import AbstractContextManager
from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nst_core.clock import Clock
from nst_core.system import traces

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
        method = scope["method"] if scope["method"] in _METHODS else _OTHER

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                route, status = getattr(scope.get("route"), "path", _OTHER), message["status"]
                self._observe(route, method, status, self._clock() - began)
                _describe(span, scope, method, route, status)
            await send(message)

        with _span(scope, method) as span:
            await self._app(scope, receive, send_measured)


def _span(scope: Scope, method: str) -> AbstractContextManager[traces.Span]:
    if not scope["path"].startswith("/v1/"):
        return traces.UNRECORDED  # a probe
    # OpenTelemetry ignores what is not a valid parent.
    return traces.span(method, kind="server", parent=Headers(scope=scope).get("traceparent"))


def _describe(span: traces.Span, scope: Scope, method: str, route: str, status: int) -> None:
    """Give a request's span its name and its attributes."""
    state = scope.get("state", {})
    caller = state.get("caller")
    span.describe(
        f"{method} {route}",
        **{
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "nst.request_id": state.get("request_id", ""),
            "nst.tenant": caller.tenant if caller is not None else "",
        },
    )
    if status >= 500:
        span.fail(str(status))
