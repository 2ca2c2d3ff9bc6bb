"""A proxy in front of the stack's storage. It adds a prefix with any number of objects to the listings."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from scheduler.local.servers import HOST

#: Objects with this part in their key exist only in listings.
MANY = "/many/"
_PAGE = 1000
_HOP = {"connection", "transfer-encoding", "keep-alive"}


@contextmanager
def listing_proxy(target: Callable[[], str], *, count: int, listing_s: float) -> Iterator[str]:
    """Yield the address of a proxy to the storage at `target`, which must be known at the first request.

    A listing of a prefix that ends in MANY has `count` objects that are not photos, and takes `listing_s` seconds.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
            prefix = query.get("prefix", "")
            if self.command == "GET" and prefix.endswith(MANY) and "list-type" in query:
                time.sleep(listing_s)
                after = query.get("continuation-token") or query.get("start-after", "").removeprefix(prefix)
                answer = _listing(prefix, after, count)
                self._answer(200, [("Content-Type", "application/xml")], answer)
                return
            place = urlsplit(target())
            connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                connection.request(self.command, self.path, body or None, headers)
                got = connection.getresponse()
                kept = [(name, value) for name, value in got.getheaders() if name.lower() not in _HOP]
                self._answer(got.status, kept, got.read())
            finally:
                connection.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() != "content-length" or self.command == "HEAD":
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _listing(prefix: str, after: str, count: int) -> bytes:
    """Return the page of a listing after the number in a key."""
    digits = "".join(letter for letter in after if letter.isdigit())
    first = int(digits) + 1 if digits else 0
    last = min(first + _PAGE, count)
    entries = "".join(
        f"<Contents><Key>{prefix}{number:09d}.txt</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;0&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for number in range(first, last)
    )
    more = last < count
    token = f"<NextContinuationToken>{last - 1:09d}</NextContinuationToken>" if more else ""
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>nst</Name><Prefix>{prefix}</Prefix><KeyCount>{last - first}</KeyCount><MaxKeys>{_PAGE}</MaxKeys>"
        f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{token}{entries}</ListBucketResult>"
    ).encode()
