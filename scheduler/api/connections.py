"""HTTP connections with timeouts for slow clients; uvicorn itself waits for them forever.

Each connection takes a file descriptor, and a process has a limited number of them. Without timeouts, a client could
open many connections, send nothing, and so lock out all other clients. It needs no API key for that.
"""

import asyncio
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from nst_core.clock import Clock

#: File descriptors that a scheduler asks for; the system may allow fewer.
_FILES = 65_536


class TimedProtocol(H11Protocol):
    """A connection with a timeout for each state in which it waits for the client."""

    #: Seconds from the start of the connection, or from the first byte of a later request, to the end of the headers.
    head_s = 20.0
    #: Seconds in which no byte of the body arrives although the server is ready to read.
    body_s = 30.0
    #: Seconds in which the client reads nothing of the response.
    answer_s = 60.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._clock: Clock = self.loop.time
        #: When the first byte of the request's headers arrived.
        self._head_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answer_timer = self.loop.call_later(self.answer_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None
        super().resume_writing()

    def _look(self) -> None:
        """Set the timeout for the rest of a request; called at its start and whenever bytes arrive."""
        self._stop()
        state = self.conn.their_state
        if state is not h11.IDLE:
            self._head_since = None
        if self.transport.is_closing():
            return
        if state is h11.IDLE:
            # More bytes of the headers do not extend the timeout.
            self._head_since = self._clock() if self._head_since is None else self._head_since
            left_s = self._head_since + self.head_s - self._clock()
            self._timer = self.loop.call_later(max(0.0, left_s), self.transport.close)
        elif state is h11.SEND_BODY:
            self._timer = self.loop.call_later(self.body_s, self._end_body)

    def _end_body(self) -> None:
        if self.flow.read_paused:
            # The server reads more slowly than the client sends, so the client is not to blame.
            self._timer = self.loop.call_later(self.body_s, self._end_body)
        else:
            self.transport.close()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def allow_connections() -> None:
    """Raise the process's limit of open files as far as allowed.

    The default is often 1,024, and each connection needs one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
