"""A small collector of OpenTelemetry: an HTTP server that keeps the spans that it is sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from scheduler.local.servers import HOST


@dataclass(frozen=True, kw_only=True)
class Collected:
    """A span, as the collector got it."""

    name: str
    id: str
    parent: str
    trace: str
    kind: str
    began_ns: int
    ended_ns: int
    failed: bool
    attributes: dict[str, str | int]
    #: Attributes of the process.
    resource: dict[str, str | int]


@dataclass
class Collector:
    """What a running collector has received."""

    url: str
    spans: list[Collected] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    #: While it is not set, requests get no answer.
    answers: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)

    def take(self, body: bytes) -> None:
        """Keep the spans in the body of a request."""
        self.bodies.append(body)
        for each in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _attributes(each.resource)
            self.spans += [_collected(span, resource) for scope in each.scope_spans for span in scope.spans]

    def children(self, parent: Collected) -> list[Collected]:
        """Return the spans directly below one, in the order in which they began."""
        found = [span for span in self.spans if (span.trace, span.parent) == (parent.trace, parent.id)]
        return sorted(found, key=lambda span: span.began_ns)


def _attributes(owner: object) -> dict[str, str | int]:
    found = {}
    for each in owner.attributes:  # type: ignore[attr-defined]
        kind = each.value.WhichOneof("value")
        assert kind in ("string_value", "int_value"), each
        found[each.key] = getattr(each.value, kind)
    return found


def _collected(span: Message, resource: dict[str, str | int]) -> Collected:
    return Collected(
        name=span.name,
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        trace=span.trace_id.hex(),
        kind=Message.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        attributes=_attributes(span),
        resource=resource,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.asked.set()
            collector.answers.wait()
            assert self.path == "/v1/traces"
            collector.take(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        collector = Collector(f"http://{HOST}:{server.server_port}")
        collector.answers.set()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            collector.answers.set()
            server.shutdown()
            thread.join()
