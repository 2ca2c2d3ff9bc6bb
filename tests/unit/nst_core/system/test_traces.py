"""Tests of nst_core.system.traces and nst_core.system.otlp, with a collector."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextvars import copy_context
from threading import Thread

import pytest

from nst_core import __version__
from nst_core.errors import BlobUnavailableError, ConfigError
from nst_core.metrics import Stage
from nst_core.system import logs, otlp, traces
from nst_core.system.logs import about, current
from tests.collector import Collected, Collector, collecting

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


def by_name(collector: Collector) -> dict[str, Collected]:
    found = {span.name: span for span in collector.spans}
    assert len(found) == len(collector.spans)
    return found


def test_spans_arrive_with_their_parents_and_the_ids_of_log_lines(collector: Collector) -> None:
    with traces.sending("nst-worker", instance="w@host"):
        with about(job_id="job_1", chunk_id=7), traces.span("chunk", kind="consumer", parent=PARENT):
            assert current()["trace_id"] == PARENT[3:35]
            with about(item=0), traces.span("item") as item:
                traces.observe(Stage.PUT, 0.25)
                item.fail("blob_unavailable")
        assert traces.traceparent() is None
        assert current() == {}
    spans = by_name(collector)
    chunk, item_, put = spans["chunk"], spans["item"], spans["put"]
    assert {span.trace for span in spans.values()} == {PARENT[3:35]}
    assert (chunk.parent, item_.parent, put.parent) == (PARENT[36:52], chunk.id, item_.id)
    assert (chunk.kind, item_.kind) == ("consumer", "internal")
    assert chunk.attributes == {"nst.job_id": "job_1", "nst.chunk_id": 7}
    assert item_.attributes == {**chunk.attributes, "nst.item": 0, "error.type": "blob_unavailable"}
    assert (chunk.failed, item_.failed) == (False, True)
    assert put.ended_ns - put.began_ns == 250_000_000
    wanted = {"service.name": "nst-worker", "service.version": __version__, "service.instance.id": "w@host"}
    assert wanted.items() <= chunk.resource.items()


def test_another_process_continues_a_trace_and_another_thread_too(collector: Collector) -> None:
    with traces.sending("nst-scheduler", instance="s"):
        with traces.span("request", kind="server"):
            told = traces.traceparent()
            thread = Thread(target=copy_context().run, args=(traces.observe, Stage.DECODE, 0.0))
            thread.start()
            thread.join()
        with traces.span("dispatch", kind="producer", parent=told):
            pass
        with traces.span("alone", parent="00-nonsense"):
            pass
    spans = by_name(collector)
    assert spans["decode"].parent == spans["dispatch"].parent == spans["request"].id
    assert spans["alone"].parent == spans["request"].parent == ""
    assert spans["alone"].trace != spans["request"].trace


def test_what_a_parent_does_not_sample_is_not_recorded(collector: Collector) -> None:
    with traces.sending("nst-worker", instance="w"), traces.span("chunk", parent=PARENT[:-1] + "0"):
        traces.observe(Stage.PUT, 0.1)
        assert traces.traceparent() is not None
    assert collector.spans == []


def test_errors_have_a_code_and_no_text_and_attributes_no_secrets(collector: Collector) -> None:
    key = "nst_1a2b3c4d_" + "S" * 43

    def fail(error: Exception) -> None:
        with traces.span(type(error).__name__) as span:
            span.describe("", **{"http.route": f"redis://:{key}@host"})
            raise error

    with traces.sending("nst-scheduler", instance="s"), about(request_id=key):
        for error in (BlobUnavailableError("no-such-text"), ValueError("no-such-text")):
            with pytest.raises(type(error)):
                fail(error)
    spans = by_name(collector)
    assert {name: span.attributes["error.type"] for name, span in spans.items()} == {
        "BlobUnavailableError": "blob_unavailable",
        "ValueError": "ValueError",
    }
    assert spans["ValueError"].attributes["http.route"] == "redis://***@host"
    assert not [body for body in collector.bodies if b"no-such-text" in body or b"SSSS" in body]


@pytest.mark.parametrize("headers", ["a=1,api-key=secret-of-the-collector", "secret-of-the-collector"])
def test_no_line_has_the_key_of_the_collector(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, headers: str
) -> None:
    monkeypatch.setattr(logs, "_hidden", set())
    monkeypatch.setattr(caplog.handler, "formatter", logs.JsonFormatter())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    with traces.sending("nst-worker", instance="w"), traces.span("chunk"):
        logging.getLogger("requests").warning("sent with secret-of-the-collector")
    assert "sent with ***" in caplog.text
    assert "secret-of-the-collector" not in caplog.text
    assert [span.name for span in collector.spans] == ["chunk"]


def test_variables_of_opentelemetry_name_the_service(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with traces.sending("nst-worker", instance="w"), traces.span("chunk"):
        pass
    (span,) = collector.spans
    assert (span.resource["service.name"], span.resource["deployment.environment.name"]) == ("pictures", "test")


def test_the_end_of_a_process_waits_for_no_collector_that_hangs(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "_CLOSE_S", 0.1)
    collector.answers.clear()
    with traces.sending("nst-worker", instance="w"), traces.span("chunk"):
        pass
    collector.asked.wait()
    assert collector.spans == []


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h/x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", "OTEL_SDK_DISABLED": "True"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", "OTEL_TRACES_EXPORTER": "none"}, None),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
    ],
)
def test_an_endpoint_turns_traces_on(environment: dict[str, str], found: str | None) -> None:
    assert traces.endpoint_variable(environment) == found


def test_another_protocol_is_refused() -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(ConfigError, match=r"^OTEL_EXPORTER_OTLP_PROTOCOL is grpc, but nst sends"):
        traces.endpoint_variable(environment)


OFF = """
import sys
from nst_core.metrics import Stage
from nst_core.system import traces
with traces.sending("nst-worker", instance="w"), traces.span("chunk") as span:
    span.describe("x", a=1)
    span.fail("code")
    traces.observe(Stage.PUT, 1.0)
    assert traces.traceparent() is None
assert span is traces.UNRECORDED.__enter__()
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_without_an_endpoint_opentelemetry_is_not_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, env={}, timeout=60)
    assert done.stdout == "[]\n", done.stderr
