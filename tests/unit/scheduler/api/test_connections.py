"""Connections of clients that do not go on, against a real server with short time limits."""

import resource
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from scheduler.api.connections import TimedProtocol, allow_connections
from scheduler.local.servers import HOST

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
#: More than the buffers of both ends of a connection hold.
LARGE = 64 * 2**20
PATIENCE_S = 30.0


class Hasty(TimedProtocol):
    head_s = 0.5
    body_s = 0.5
    answer_s = 0.5


class App:
    """Reads a request and answers with its size; a GET is answered with many bytes."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            size, more = 0, True
            while more:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
            body = b"." * LARGE if scope["method"] == "GET" else str(size).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            self.ended.set()


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def server(app: App) -> Iterator[int]:
    """A server of the app; gives its port."""
    listener = socket.create_server((HOST, 0))
    config = uvicorn.Config(app, http=Hasty, lifespan="off", log_level="error", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=PATIENCE_S)


def test_a_connection_without_a_request_is_closed(server: int) -> None:
    with connect(server) as client:
        assert client.recv(1) == b""


def test_headers_that_come_byte_by_byte_have_one_time_limit(server: int) -> None:
    with connect(server) as client, pytest.raises(OSError, match=r"reset|pipe"):
        send_slowly(client, b"G" * round(PATIENCE_S / 0.1))


def send_slowly(client: socket.socket, data: bytes) -> None:
    for byte in data:
        client.sendall(bytes([byte]))
        time.sleep(0.1)


def test_a_body_that_does_not_go_on_ends_its_request(server: int, app: App) -> None:
    with connect(server) as client:
        client.sendall(POST + b"12345")
        assert client.recv(1) == b""
    assert app.ended.wait(PATIENCE_S)


def test_a_body_that_comes_slowly_is_read(server: int) -> None:
    with connect(server) as client:
        client.sendall(POST)
        send_slowly(client, b"1" * 10)  # longer than the time limit altogether
        answer = b""
        while b"\r\n\r\n2\r\n10\r\n" not in answer:
            piece = client.recv(1000)
            assert piece, answer
            answer += piece


def test_a_further_request_of_a_connection_has_the_same_time(server: int) -> None:
    with connect(server) as client:
        client.sendall(POST + b"1234567890")
        while not client.recv(1000).endswith(b"0\r\n\r\n"):
            pass
        client.sendall(b"POST / HT")
        assert client.recv(1) == b""


def test_an_answer_that_nobody_reads_is_given_up(server: int, app: App) -> None:
    with connect(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.ended.wait(PATIENCE_S)


def test_the_process_may_have_as_many_connections_as_its_user() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        allow_connections()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(65_536, before[1]), before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
