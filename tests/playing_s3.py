"""A small S3 server that imitates the quirks of other servers, which no real server here shows on request.

It keeps objects in memory and checks no signatures. `Quirks` sets its behaviour, and tests change them at run time.
"""

import gzip
import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from pydantic import SecretStr

from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri, make_client

HOST = "127.0.0.1"
_DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]


#: An HTTP status and an error code.
Refusal = tuple[int, str]


@dataclass(kw_only=True)
class Quirks:
    """How a server differs from Amazon's. By default it does not."""

    #: Where StartAfter begins: "after" its key, "from" its key, or "ignored".
    start_after: str = "after"
    #: The most keys on a page.
    page: int = 1000
    #: The number of pages without keys before the first page with keys. Each has a token.
    empty_pages: int = 0
    #: Sorts the keys of a listing.
    order: Callable[[list[str]], list[str]] = sorted
    #: Whether truncated listings have a token.
    tokens: bool = True
    etags: bool = True
    #: Whether answers to GET have Content-Length.
    content_length: bool = True
    #: Whether answers to GET are compressed.
    zipped: bool = False
    #: The number of next GETs that break off in the middle.
    cut_gets: int = 0
    #: Whether conditional PUTs are supported.
    conditional: bool = True
    #: Refuses a request before the server does anything else.
    refuse: Callable[[Call], Refusal | None] = lambda call: None
    #: Called with a PUT before it is carried out.
    before_put: Callable[[Call], None] = lambda call: None


@dataclass
class PlayingServer:
    """The server, its objects, and the requests that it received."""

    quirks: Quirks = field(default_factory=Quirks)
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    port: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    #: Tokens by their position in the listing.
    issued: dict[str, int] = field(default_factory=dict)
    clients: dict[bool, Any] = field(default_factory=dict)

    @property
    def settings(self) -> StorageSettings:
        """The settings of a client of this server."""
        return StorageSettings(
            s3_endpoint=f"http://{HOST}:{self.port}", s3_access_key=SecretStr("key"), s3_secret_key=SecretStr("secret")
        )

    def store(self, *, patient: bool = True) -> BlobStore:
        """Return a store that has not used the server yet. It reuses a client, because making one is slow."""
        if patient not in self.clients:
            self.clients[patient] = make_client(self.settings, patient=patient)
        return BlobStore(self.settings, client=self.clients[patient])

    def reset(self) -> None:
        """Forget all objects, calls and quirks."""
        self.quirks = Quirks()
        for each in (self.objects, self.calls, self.issued):
            each.clear()

    def put(self, *keys: str, data: bytes = b"x") -> None:
        """Put objects into the bucket "nst"."""
        self.objects |= {("nst", key): data for key in keys}

    def count(self, method: str, *, key: str | None = None) -> int:
        """Return how many requests with a method came, for one key or for all."""
        return sum(call.method == method and key in (None, call.key) for call in self.calls)


@contextmanager
def playing() -> Iterator[PlayingServer]:
    """Run a server in this process."""
    played = PlayingServer()

    class Handler(_Handler):
        state = played

    server = _Server((HOST, 0), Handler)
    played.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield played
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about clients that have read enough."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Send the answer in one piece. The second of two pieces would wait until the client acknowledges the first.
    wbufsize = 1 << 16
    state: PlayingServer
    call: Call

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(self._get)

    def do_HEAD(self) -> None:
        self._serve(self._head)

    def do_PUT(self) -> None:
        self._serve(self._put)

    def do_DELETE(self) -> None:
        self._serve(self._delete)

    def _serve(self, act: Callable[[], None]) -> None:
        path, _, query = self.path.partition("?")
        bucket, _, key = path[1:].partition("/")
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.call = Call(
            self.command,
            unquote(bucket),
            unquote(key),
            dict(parse_qsl(query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
        )
        self.state.calls.append(self.call)
        refusal = self.state.quirks.refuse(self.call)
        if refusal is not None:
            self._refuse(*refusal)
        else:
            act()

    def _get(self) -> None:
        quirks, call = self.state.quirks, self.call
        if not call.key:
            self._list()
            return
        data = self.state.objects.get((call.bucket, call.key))
        if data is None:
            self._refuse(404, "NoSuchKey")
            return
        headers = self._tag(data) | {"Last-Modified": _DATE}
        if quirks.zipped:
            data = gzip.compress(data)
            headers["Content-Encoding"] = "gzip"
        if quirks.cut_gets > 0:
            quirks.cut_gets -= 1
            self._answer(200, data[: len(data) // 2], headers, length=len(data))
            self.close_connection = True
        elif quirks.content_length:
            self._answer(200, data, headers)
        else:
            self.send_response(200)
            for name, value in (headers | {"Transfer-Encoding": "chunked"}).items():
                self.send_header(name, value)
            self.end_headers()
            for start in range(0, len(data), 4096):
                piece = data[start : start + 4096]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

    def _head(self) -> None:
        call = self.call
        data = self.state.objects.get((call.bucket, call.key)) if call.key else b""
        if data is None:
            self._refuse(404, "NoSuchKey")
        else:
            self._answer(200, data, self._tag(data))

    def _put(self) -> None:
        call, state = self.call, self.state
        state.quirks.before_put(call)
        with state.lock:
            present = state.objects.get((call.bucket, call.key))
            wanted, unwanted = call.headers.get("if-match"), call.headers.get("if-none-match")
            if state.quirks.conditional and unwanted == "*" and present is not None:
                self._refuse(412, "PreconditionFailed")
                return
            if state.quirks.conditional and wanted is not None and present is None:
                self._refuse(404, "NoSuchKey")
                return
            if state.quirks.conditional and wanted is not None and wanted != _etag(present or b""):
                self._refuse(412, "PreconditionFailed")
                return
            if call.key:
                state.objects[call.bucket, call.key] = self.body
        self._answer(200, b"", self._tag(self.body))

    def _delete(self) -> None:
        self.state.objects.pop((self.call.bucket, self.call.key), None)
        self._answer(204, b"", {})

    def _list(self) -> None:
        quirks, query, state = self.state.quirks, self.call.query, self.state
        prefix, after = query.get("prefix", ""), query.get("start-after", "")
        keys = quirks.order([key for bucket, key in state.objects if bucket == self.call.bucket])
        keys = [key for key in keys if key.startswith(prefix)]
        start = 0
        if token := query.get("continuation-token"):
            if token not in state.issued:
                self._refuse(400, "InvalidArgument")
                return
            start = state.issued[token]
        elif after and quirks.start_after != "ignored":
            kept = [key for key in keys if key > after or (key == after and quirks.start_after == "from")]
            start = keys.index(kept[0]) if kept else len(keys)
        size = min(int(query.get("max-keys", 1000)), quirks.page)
        empties = int(token.rpartition("-")[2]) if token else 0
        if empties < quirks.empty_pages and start == 0:
            size, empties = 0, empties + 1
        page, more = keys[start : start + size], len(keys) > start + size
        next_token = f"at-{start + size}-{empties}" if more and quirks.tokens else ""
        if next_token:
            state.issued[next_token] = start + size
        self._answer(200, _listing(page, more, next_token, state, self.call), {"Content-Type": "application/xml"})

    def _tag(self, data: bytes) -> dict[str, str]:
        return {"ETag": _etag(data)} if self.state.quirks.etags else {}

    def _refuse(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
        self._answer(status, body, {"Content-Type": "application/xml"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str], *, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _listing(page: list[str], more: bool, token: str, state: PlayingServer, call: Call) -> bytes:
    encoded = call.query.get("encoding-type") == "url"
    parts = ["<?xml version='1.0' encoding='UTF-8'?><ListBucketResult>"]
    parts.append(f"<IsTruncated>{str(more).lower()}</IsTruncated>")
    if encoded:
        parts.append("<EncodingType>url</EncodingType>")
    if token:
        parts.append(f"<NextContinuationToken>{token}</NextContinuationToken>")
    for key in page:
        tag = f"<ETag>{_etag(state.objects[call.bucket, key])}</ETag>" if state.quirks.etags else ""
        name = quote(key, safe="/") if encoded else escape(key)
        parts.append(f"<Contents><Key>{name}</Key>{tag}<Size>1</Size></Contents>")
    parts.append("</ListBucketResult>")
    return "".join(parts).encode()


def uri(key: str = "", *, bucket: str = "nst") -> BlobUri:
    """Return an address in the tests' bucket."""
    return BlobUri(bucket, key)
