"""A receiver of webhooks that works, fails, hangs or is down, as a test chooses."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nst_core.clock import Clock
from scheduler.local.servers import HOST


class Mood(StrEnum):
    """How a receiver behaves."""

    WELL = "well"  # answers 204
    ILL = "ill"  # answers 500
    SLOW = "slow"  # accepts messages and does not answer
    DOWN = "down"  # does not listen


@dataclass(kw_only=True)
class Message:
    """A request that the receiver got."""

    headers: dict[str, str]
    body: bytes
    #: Seconds since 1970.
    at: float
    #: The status of the answer; None if there was none.
    answer: int | None = None


class Receiver:
    """Listens on one port of this machine while it is up. At first it is down."""

    def __init__(self, *, port: int, clock: Clock) -> None:
        """Choose the port. The receiver does not listen yet."""
        self.url = f"http://{HOST}:{port}/hook"
        self.messages: list[Message] = []
        #: The secret of the webhook with this address.
        self.secret = ""
        self._port = port
        self._clock = clock
        self._mood = Mood.DOWN
        #: Ends when the mood changes.
        self._spell = threading.Event()
        self._holding = 0
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def holding(self) -> int:
        """The number of messages that wait for an answer that does not come."""
        return self._holding

    def answered(self, status: int) -> int:
        """Return how many messages were answered with a status."""
        return sum(message.answer == status for message in self.messages)

    def turn(self, mood: Mood) -> None:
        """Change the mood. Messages that are still waiting get no answer."""
        ended, self._spell, self._mood = self._spell, threading.Event(), mood
        ended.set()
        if mood is Mood.DOWN:
            self.close()
        elif self._server is None:
            self._server = _Server((HOST, self._port), _handler(self._take))
            serve = {"poll_interval": 0.05}
            threading.Thread(target=self._server.serve_forever, kwargs=serve, name="receiver", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._spell.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _take(self, headers: dict[str, str], body: bytes) -> int | None:
        message = Message(headers=headers, body=body, at=self._clock())
        self.messages.append(message)
        if self._mood is Mood.SLOW:
            with self._lock:
                self._holding += 1
            self._spell.wait()
            with self._lock:
                self._holding -= 1
        else:
            message.answer = 204 if self._mood is Mood.WELL else 500
        return message.answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing about senders that are killed or time out."""


def _handler(take: Callable[[dict[str, str], bytes], int | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status = take(dict(self.headers.items()), body)
            if status is not None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
