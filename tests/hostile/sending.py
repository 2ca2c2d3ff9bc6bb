"""Sends hostile requests on real connections: whole, in pieces, slowly, or without an end."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from tests.hostile.api_requests import HostileRequest

#: An answer that does not begin within this time counts as missing.
ANSWER_S = 60.0
#: How long a connection is held that sends slowly or never finishes.
HELD_S = 3.0
_READ_BYTES = 64 * 2**20


@dataclass
class Answers:
    """The answers to the requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    #: Labels of whole requests that got no answer in time.
    silent: list[str] = field(default_factory=list)
    #: Labels and first bytes of answers with 500 and above.
    broken: list[str] = field(default_factory=list)
    largest_bytes: int = 0
    largest: str = ""
    slowest_s: float = 0.0
    slowest: str = ""


def send_all(requests: Iterable[HostileRequest], *, host: str, port: int, threads: int = 16, until: float) -> Answers:
    """Send requests, some concurrently, and return the answers. Skip the requests that are left at the deadline."""
    answers, lock = Answers(), threading.Lock()

    def send(request: HostileRequest) -> None:
        if time.monotonic() > until:
            return
        begun = time.monotonic()
        status, data = _send(request, host, port)
        took = time.monotonic() - begun
        with lock:
            answers.statuses[status] += 1
            # A server may close a connection while it still receives an overlong head. Its answer is then lost.
            if status == 0 and took >= ANSWER_S and request.way in ("whole", "pieces", "chunked"):
                answers.silent.append(request.label)
            if status >= 500:
                answers.broken.append(f"{status} {request.label}: {data[:200]!r}")
            if len(data) > answers.largest_bytes:
                answers.largest_bytes, answers.largest = len(data), request.label
            if took > answers.slowest_s and request.way == "whole":
                answers.slowest_s, answers.slowest = took, request.label

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(send, requests):
            pass
    return answers


def _send(request: HostileRequest, host: str, port: int) -> tuple[int, bytes]:
    """Return the status, 0 if there was none, and the answer's bytes."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError):  # refused before all of it was sent; the answer may have arrived
                _write(connection, request)
            if request.way in ("half_open", "aborted"):
                return 0, b""
            return _read(connection)
    except OSError:
        return 0, b""


def _write(connection: socket.socket, request: HostileRequest) -> None:
    length = len(request.body)
    framing = {"chunked": "Transfer-Encoding: chunked", "short": f"Content-Length: {length + 1000}"}
    framing |= {"long": f"Content-Length: {max(0, length - 10)}"}
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    if not any(name == "Host" for name, _ in request.headers):
        lines.append("Host: localhost")
    lines += [f"{name}: {value}" for name, value in request.headers]
    lines += [framing.get(request.way, f"Content-Length: {length}"), "Connection: close"]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    match request.way:
        case "pieces":
            for place in range(0, min(len(head), 2000), 7):
                connection.sendall(head[place : min(place + 7, 2000)])
            connection.sendall(head[2000:] + request.body)
        case "slow":
            connection.sendall(head)
            for place in range(20):
                connection.sendall(request.body[place : place + 1])
                time.sleep(HELD_S / 20)
            connection.sendall(request.body[20:])
        case "half_open":
            connection.sendall(head[: len(head) // 2])
            time.sleep(HELD_S)
        case "aborted":
            connection.sendall(head + request.body[: length // 2])
        case "chunked":
            connection.sendall(head)
            for place in range(0, length, max(1, length // 50)):
                piece = request.body[place : place + max(1, length // 50)]
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
        case "short":
            connection.sendall(head + request.body)
            time.sleep(0.2)
            connection.shutdown(socket.SHUT_WR)
        case "garbage":
            connection.sendall(request.body[:2000] + b"\r\n\r\n" + head)
        case _:
            connection.sendall(head + request.body)


def _read(connection: socket.socket) -> tuple[int, bytes]:
    data = b""
    pieces: list[bytes] = []
    size, until = 0, time.monotonic() + ANSWER_S
    while size < _READ_BYTES and time.monotonic() < until:
        piece = connection.recv(1 << 16)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if b"text/event-stream" in pieces[0]:
            break  # the stream has no end
    data = b"".join(pieces)
    status = data[9:12]
    return int(status) if data.startswith(b"HTTP/1.") and status.isdigit() else 0, data
