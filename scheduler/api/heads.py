"""Answers HEAD for every GET route, with the same headers and no body."""

from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _EnoughError(Exception):
    """Stops a route from producing a body that will not be sent."""


class Heads:
    """Handles HEAD as GET, and stops the route after the first chunk of the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        ended = False

        async def send_head(message: Message) -> None:
            nonlocal ended
            if message["type"] != "http.response.body":
                await send(message)
                return
            if not ended:
                ended = True
                await send({"type": "http.response.body", "body": b""})
            if message.get("more_body"):
                raise _EnoughError

        with suppress(_EnoughError):
            await self._app({**scope, "method": "GET"}, receive, send_head)
