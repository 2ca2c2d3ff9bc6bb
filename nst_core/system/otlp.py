"""Spans for OpenTelemetry, sent by OTLP over HTTP. Only this module loads OpenTelemetry."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from nst_core import __version__
from nst_core.errors import NstError
from nst_core.system.logs import Repeats, about, current, without_secrets

#: The longest time that the end of a process waits for the last spans to be sent.
_CLOSE_S = 3.0
_CONTEXT = TraceContextTextMapPropagator()
#: What logs an error for each batch that does not arrive.
_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class OtlpSpan:
    """A span of OpenTelemetry."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def describe(self, name: str = "", **attributes: str | int) -> None:
        """Set attributes, and the name unless it is empty."""
        if name:
            self._span.update_name(name)
        self._span.set_attributes(_clean(attributes))

    def fail(self, code: str) -> None:
        """Record that it failed."""
        self._span.set_status(StatusCode.ERROR)
        self._span.set_attribute("error.type", code)


class Otlp:
    """Records spans and sends them in batches, from a thread of its own. Spans that nobody takes are dropped."""

    def __init__(self, service: str, *, instance: str) -> None:
        """The endpoint, sampling and the rest are as the standard variables of OpenTelemetry say.

        `service` names the process unless these do, and `instance` tells it from others.
        """
        resource = Resource.create(
            {"service.version": __version__, **({"service.instance.id": instance} if instance else {})}
        )
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: service}))
        logging.getLogger(_EXPORTER).addFilter(Repeats())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("nst", __version__)

    @contextmanager
    def span(self, name: str, *, kind: str, parent: str | None) -> Iterator[OtlpSpan]:
        """Record a span for the time of the `with` block."""
        context = _CONTEXT.extract({"traceparent": parent}) if parent else None
        with self._tracer.start_as_current_span(
            name,
            context=context,
            kind=SpanKind[kind.upper()],
            attributes=_ids(),
            # Texts of errors may have what belongs into no trace.
            record_exception=False,
            set_status_on_exception=False,
        ) as started:
            span = OtlpSpan(started)
            with about(trace_id=trace.format_trace_id(started.get_span_context().trace_id)):
                try:
                    yield span
                except Exception as error:
                    span.fail(error.code if isinstance(error, NstError) else type(error).__name__)
                    raise

    def record(self, name: str, seconds: float) -> None:
        """Record a span that ends now."""
        ended_at = time.time_ns()
        span = self._tracer.start_span(name, start_time=ended_at - int(seconds * 1e9))
        span.end(ended_at)

    def traceparent(self) -> str | None:
        """Return the present span."""
        carrier: dict[str, str] = {}
        _CONTEXT.inject(carrier)
        return carrier.get("traceparent")

    def close(self) -> None:
        """Send what is left, within seconds."""
        thread = Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(_CLOSE_S)


def _ids() -> dict[str, str | int]:
    return _clean({f"nst.{name}": value for name, value in current().items() if name != "trace_id"})


def _clean(attributes: Mapping[str, object]) -> dict[str, str | int]:
    return {
        name: value if isinstance(value, int) else without_secrets(str(value)) for name, value in attributes.items()
    }
