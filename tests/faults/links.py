"""Links: a TCP proxy that can interrupt a connection, and one for S3 that can also make requests fail."""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from scheduler.local.servers import HOST

_T = TypeVar("_T")
_PIECE = 1 << 16
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Link:
    """Forwards one port to another. Its methods can be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        """Forward to the port `target` of this machine; `Links.add` opens it."""
        self._loop = loop
        self._target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def open(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop listening and close all connections. Call this in the thread of the links."""
        self._server.close()
        self._abort()

    def block(self) -> None:
        """Forward nothing, and notify neither side: a network partition. Nothing is lost."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def heal(self) -> None:
        """Forward everything again, held-back bytes first, as TCP does after a partition."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def cut(self) -> None:
        """Close all connections, and accept new ones."""
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            # `close` cancels this task. The server that started it would print a traceback for a cancelled one.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._handle(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        up_reader, up_writer = await asyncio.open_connection(HOST, self._target)
        try:
            directions = [self._pump(reader, up_writer), self._pump(up_reader, writer)]
            tasks = [asyncio.create_task(direction) for direction in directions]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            up_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_PIECE):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()


@dataclass(frozen=True, kw_only=True)
class StorageFaults:
    """The shares of requests that fail, from 0 to 1."""

    #: Requests that are answered with 503 and not carried out.
    refused: float = 0.0
    #: PUTs that take `slow_s` longer.
    slow: float = 0.0
    slow_s: float = 1.0
    #: PUTs that are carried out and never answered.
    unanswered: float = 0.0


class StorageLink(Link):
    """A link to an S3 server. It parses requests while `faults` is set."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int, rng: random.Random) -> None:
        super().__init__(loop, target)
        self._rng = rng
        self._faults: StorageFaults | None = None
        #: The number of requests that failed.
        self.failed = 0

    def disturb(self, faults: StorageFaults | None) -> None:
        """Start or stop to make requests fail. All connections are closed."""
        self._faults = faults
        self.cut()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (faults := self._faults) is None:
            await super()._handle(reader, writer)
            return
        head, body = await _read_request(reader, writer)
        put = head.startswith(b"PUT ")
        if self._rng.random() < faults.refused:
            self.failed += 1
            writer.write(
                b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n" % len(_SLOW_DOWN)
            )
            writer.write(b"" if head.startswith(b"HEAD ") else _SLOW_DOWN)
            await writer.drain()
            return
        if put and self._rng.random() < faults.slow:
            self.failed += 1
            await asyncio.sleep(faults.slow_s)
        answer = await self._ask(head, body)
        if put and self._rng.random() < faults.unanswered:
            self.failed += 1
            return
        writer.write(answer)
        await writer.drain()

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        """Return the server's whole answer to a request."""
        up_reader, up_writer = await asyncio.open_connection(HOST, self._target)
        try:
            up_writer.write(head + b"\r\nConnection: close\r\n\r\n" + body)
            await up_writer.drain()
            return await up_reader.read()
        finally:
            up_writer.close()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bytes, bytes]:
    """Return the head of a request without its last empty line, and its body."""
    lines = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n").split(b"\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    if b"expect" in headers:  # the sender sends the body only after this answer
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        lines = [line for line in lines if not line.lower().startswith(b"expect:")]
    return b"\r\n".join(lines), await reader.readexactly(int(headers.get(b"content-length", b"0")))


class Links:
    """All links of a cluster, in a separate thread."""

    def __init__(self, *, seed: int = 0) -> None:
        """Start the thread. `seed` decides which requests to the storage fail."""
        self._rng = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()
        self._links: dict[str, Link] = {}

    def __getitem__(self, name: str) -> Link:
        return self._links[name]

    def add(self, name: str, target: int) -> int:
        """Open a link to a port, and return the link's own port."""
        return self._opened(name, Link(self._loop, target))

    def add_storage(self, name: str, target: int) -> int:
        """Open a link to an S3 server, and return the link's own port."""
        return self._opened(name, StorageLink(self._loop, target, self._rng))

    def storage(self, name: str) -> StorageLink:
        """Return a link to an S3 server."""
        link = self._links[name]
        assert isinstance(link, StorageLink)
        return link

    def close(self) -> None:
        """Close everything."""
        self._call(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _opened(self, name: str, link: Link) -> int:
        self._call(link.open)
        self._links[name] = link
        return link.port

    def _call(self, function: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result(10)

    async def _end(self) -> None:
        for link in self._links.values():
            link.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
