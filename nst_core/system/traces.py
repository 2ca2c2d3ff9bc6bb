"""Traces: what a request, a job and an image spend their time on, from process to process, for OpenTelemetry.

Without an endpoint in the environment nothing is recorded and OpenTelemetry is not loaded. `sending` turns traces on.
The ids of a span are those of log lines (`nst_core.system.logs.about`), and log lines have the id of their trace.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, Protocol

from nst_core.errors import ConfigError
from nst_core.extras import install_command
from nst_core.metrics import Stage
from nst_core.system.logs import hide

#: Each of them, if it is set, is where spans are sent.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
#: Headers for the collector, such as its key.
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")


#: What a span is to the one above it: a part, the answer to a request, the sending of a message, or the work on one.
Kind = Literal["internal", "server", "producer", "consumer"]


class Span(Protocol):
    """A part of a trace that is not over yet."""

    def describe(self, name: str = "", **attributes: str | int) -> None:
        """Set attributes, and the name unless it is empty. None of them may be a secret or belong to a photo."""
        ...

    def fail(self, code: str) -> None:
        """Record that it failed, with the code of the error."""
        ...


class Tracer(Protocol):
    """Records spans."""

    def span(self, name: str, *, kind: Kind, parent: str | None) -> AbstractContextManager[Span]:
        """Record a span for the time of the `with` block. An error that leaves the block makes it fail."""
        ...

    def record(self, name: str, seconds: float) -> None:
        """Record a span that took so long and ends now."""
        ...

    def traceparent(self) -> str | None:
        """Return the present span, as in the header of W3C Trace Context."""
        ...


class _Nothing:
    """A span of a process that records none."""

    def describe(self, name: str = "", **attributes: str | int) -> None:
        pass

    def fail(self, code: str) -> None:
        pass


_tracer: Tracer | None = None
#: A span that is not recorded, for a `with` block.
UNRECORDED: AbstractContextManager[Span] = nullcontext(_Nothing())


def span(name: str, *, kind: Kind = "internal", parent: str | None = None) -> AbstractContextManager[Span]:
    """Record a span for the time of the `with` block, below `parent`, a traceparent, or else below the present span."""
    return UNRECORDED if _tracer is None else _tracer.span(name, kind=kind, parent=parent)


def observe(stage: Stage, seconds: float, /) -> None:
    """Record a stage that was completed, below the present span; an Observer."""
    if _tracer is not None:
        _tracer.record(stage, seconds)


def traceparent() -> str | None:
    """Return what another process needs to continue the present span; None if there is none."""
    return None if _tracer is None else _tracer.traceparent()


@contextmanager
def sending(service: str, *, instance: str) -> Iterator[None]:
    """Send the spans of this process during the block, if the standard variables of OpenTelemetry name an endpoint.

    Raises ConfigError if OpenTelemetry is not installed, or is to speak another protocol than HTTP.
    """
    global _tracer
    name = endpoint_variable()
    if name is None:
        yield
        return
    try:
        from nst_core.system.otlp import Otlp
    except ModuleNotFoundError as error:
        reason = f"the Python package {error.name} is missing; {install_command('tracing')} installs it."
        raise ConfigError(f"{name} is set, but {reason}") from None
    for each in _HEADERS:
        # OpenTelemetry logs headers that are not well formed.
        for header in os.environ.get(each, "").split(","):
            hide(header.strip(), header.partition("=")[2].strip())
    _tracer = otlp = Otlp(service, instance=instance)
    try:
        yield
    finally:
        _tracer = None
        otlp.close()


def endpoint_variable(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the variable that says where spans are sent; None if they are not. Raises ConfigError as `sending`."""
    name = next((name for name in ENDPOINTS if environment.get(name, "").strip()), None)
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if name is None or is_off or environment.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return None
    for each in _PROTOCOLS:
        if protocol := environment.get(each, "").strip():
            if protocol != _PROTOCOL:
                raise ConfigError(f"{each} is {protocol}, but nst sends traces by {_PROTOCOL} only.")
            break
    return name
