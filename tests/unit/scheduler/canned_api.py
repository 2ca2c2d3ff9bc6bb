"""A small real HTTP server that gives prepared answers, for tests of the client and the command line."""

import json
import re
import socket
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

#: What a command asks before it uploads photos; by default, nothing is wrong.
CHECK = "/v1/jobs?validate=true&objects=false"
_UPLOAD = re.compile(r"/v1/uploads/(upl_[0-9a-f]{24})(?:/files\?limit=999|/(.+))?")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server answers: JSON, bytes, or nothing but a closed connection."""

    status: int = 200
    body: Any = field(default_factory=dict)
    hang_up: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    #: Called before the answer is given.
    first: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the server was asked."""

    method: str
    #: With the query.
    path: str
    headers: dict[str, str]
    body: bytes


class CannedApi:
    """Prepared answers by method and path; the last one of a path is given again and again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []
        #: What was uploaded, by its path below the upload's prefix, which is s3://nst/up1/ for the first upload.
        self.files: dict[str, bytes] = {}
        #: Called with the path of each request before its body is read.
        self.on_head: Callable[[str], None] = lambda path: None
        #: Called with the name of each file before it is kept.
        self.on_file: Callable[[str], None] = lambda name: None
        self._uploads: dict[str, str] = {}
        self._answers: dict[tuple[str, str], list[Answer]] = defaultdict(list)

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Prepare answers."""
        self._answers[method, path] += answers

    def take(self, request: Request) -> Answer:
        """Return the next answer to a request."""
        self.requests.append(request)
        answers = self._answers.get((request.method, request.path))
        if not answers and (match := _UPLOAD.fullmatch(request.path)):
            return self._upload(request, match[1], unquote(match[2] or ""))
        if not answers and request.path == CHECK:
            return Answer(body={"valid": True, "photos": 1, "items": 1, "failing": 0})
        if not answers:
            return problem(404, "not_found", f"Nothing is prepared for {request.method} {request.path}.")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def _upload(self, request: Request, upload_id: str, name: str) -> Answer:
        """Keep files as the API does."""
        place = self._uploads.setdefault(upload_id, f"up{len(self._uploads) + 1}/")
        if request.method == "GET":
            sizes = {path: len(data) for path, data in self.files.items() if path.startswith(place)}
            return Answer(body={"data": [{"path": p.removeprefix(place), "bytes": n} for p, n in sizes.items()]})
        if not name:
            return Answer(body=upload_json(upload_id, f"s3://nst/{place}"))
        self.on_file(name)
        self.files[place + name] = request.body
        return Answer(status=201, body={"uri": f"s3://nst/{place}{name}"})


def problem(status: int, code: str, detail: str, **more: Any) -> Answer:
    """Return an RFC 9457 answer."""
    return Answer(status=status, body={"type": "about:blank", "title": code, "detail": detail, "code": code, **more})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about clients that went away in between, as an interrupted one does."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def canned_api() -> Iterator[CannedApi]:
    """Run a server for the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes; the second one would wait 40 ms for the acknowledgement of the first.
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            api.on_head(self.path)
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:  # the client went away in the middle
                self.close_connection = True
                return
            request = Request(method=self.command, path=self.path, headers=dict(self.headers), body=body)
            answer = api.take(request)
            answer.first()
            if answer.hang_up:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    api = CannedApi(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def job_json(status: str = "running", *, total: int = 4, succeeded: int = 0, failed: int = 0, **more: Any) -> Any:
    """Return a job as the API gives it."""
    counts = {"total": total, "succeeded": succeeded, "failed": failed, "running": 0, "cancelled": 0}
    return {
        "id": "job_1",
        "status": status,
        "styles": [{"name": "great_wave", "version": "ab" * 32}],
        "input": {"prefix": "s3://nst/in/"},
        "output": {
            "prefix": "s3://nst/out/",
            "format": "keep",
            "quality": 92,
            "name": "{stem}__{style}.{ext}",
            "max_px": None,
        },
        "strength": 1.0,
        "preserve_color": False,
        "metadata": {},
        "counts": {**counts, "pending": total - succeeded - failed},
        "created_at": "2026-11-22T01:00:00Z",
        "started_at": "2026-11-22T01:00:01Z",
        "finished_at": None,
        "error": None,
        **more,
    }


def upload_json(upload_id: str, prefix: str) -> Any:
    """Return an upload as the API gives it."""
    moment = "2026-11-22T01:00:00Z"
    return {"id": upload_id, "prefix": prefix, "created_at": moment, "used_at": moment}


def item_json(index: int, status: str = "succeeded", **more: Any) -> Any:
    """Return an item as the API gives it."""
    return {
        "id": index,
        "input": f"s3://nst/in/{index}.jpg",
        "custom_id": None,
        "style": "great_wave",
        "status": status,
        "output": f"s3://nst/out/sub/{index}__great_wave.jpg" if status == "succeeded" else None,
        "width": None,
        "height": None,
        "bytes": None,
        "sha256": None,
        "attempt": 1,
        "error": None,
        **more,
    }


def tenant_json(*, max_items_per_job: int | None = None) -> Any:
    """Return the tenant of the key in use as the API tells of it."""
    key = {"id": "3f9a10c2", "name": "own", "tenant": "default", "scopes": ["jobs:write"], "status": "active"}
    return {
        "id": "default",
        "weight": 1.0,
        "read": None,
        "write": None,
        "overrides": {},
        "limits": {"max_items_per_job": max_items_per_job},
        "usage": {"queued_items": 0, "unfinished_jobs": 0, "unfinished_runs": 0},
        "key": key | {"created_at": "2026-11-22T12:00:00Z"},
    }
