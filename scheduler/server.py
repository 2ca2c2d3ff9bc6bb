"""The HTTP server of the API: where it listens, and how it ends."""

import errno
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from nst_core import __version__
from nst_core.errors import ConfigError
from nst_core.system.heartbeat import Heartbeat
from scheduler.events.hub import EventHub

log = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens for the API; raise ConfigError if the address or the port cannot be used.

    Call it before anything else: if another scheduler uses the port, nothing must change.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = "another process listens there" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise ConfigError(f"the API cannot listen at NST_HOST {host}, NST_PORT {port}: {reason}.") from None


class Server(uvicorn.Server):
    """An HTTP server that ends when it is told to, without waiting for streams of events.

    `run` returns after SIGTERM or Ctrl-C, so that the rest of the process can end in order. (uvicorn's own raises the
    signal again instead.) A second signal ends the process immediately.
    """

    def __init__(self, config: uvicorn.Config, hub: EventHub, heartbeat: Heartbeat) -> None:
        super().__init__(config)
        self._hub = hub
        self._heartbeat = heartbeat
        #: Counts turns of the event loop.
        self.ticks = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            for listener in sockets or ():
                host, port = listener.getsockname()[:2]
                log.info("nst %s listens on http://%s:%d", __version__, f"[{host}]" if ":" in host else host, port)
            self._heartbeat.ready()

    async def on_tick(self, counter: int) -> bool:
        self.ticks += 1
        return await super().on_tick(counter)

    @contextmanager
    def taking_signals(self) -> Iterator[None]:
        """Take SIGTERM and Ctrl-C during the block, which `run` alone does only until it returns."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + sig)
        self._hub.stop()
        self.should_exit = True
