"""Spans of a request over all its processes, for OpenTelemetry; nothing happens until `start`.

What a span says of a failure is the error's type: messages may name what clients have sent.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NoOpTracer,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    TracerProvider,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from saccade.serving.config.tracing import TracingConfig

Value = str | int | float | bool

# Bounds how long stopping takes where the collector has gone.
EXPORT_TIMEOUT_S = 3.0

_W3C = TraceContextTextMapPropagator()
_tracer: Tracer = NoOpTracer()


def start(config: TracingConfig, process: str) -> Callable[[], None]:
    """Send spans to the collector from now on; returns what sends the last ones and stops.

    Args:
        process: `gateway`, or the instance's name.
    """
    if config.endpoint is None:
        return lambda: None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    # The environment's OTEL_RESOURCE_ATTRIBUTES are added by `create`.
    resource = Resource.create({"service.name": "saccade", "service.instance.id": process})
    sampler = ParentBased(TraceIdRatioBased(config.sample_ratio))
    provider = SdkTracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(config.endpoint, timeout=EXPORT_TIMEOUT_S))
    )
    stop_using = _use(provider)

    def stop() -> None:
        stop_using()
        provider.shutdown()

    return stop


@contextmanager
def using(provider: TracerProvider) -> Iterator[None]:
    """Spans go there until the end."""
    stop = _use(provider)
    try:
        yield
    finally:
        stop()


def _use(provider: TracerProvider) -> Callable[[], None]:
    global _tracer  # noqa: PLW0603  # one a process, as OpenTelemetry has it
    before = _tracer
    _tracer = provider.get_tracer("saccade")

    def stop() -> None:
        global _tracer  # noqa: PLW0603
        _tracer = before

    return stop


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    **attributes: Value,
) -> Iterator[Span]:
    """A part of the work at hand, whose own parts become its children."""
    with _span(name, kind, parent, attributes) as opened, _current(opened):
        yield opened


def _current(opened: Span) -> AbstractContextManager[Span]:
    return use_span(opened, record_exception=False, set_status_on_exception=False)


@contextmanager
def detached(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    **attributes: Value,
) -> Iterator[Span]:
    """The same in an asynchronous generator, which others run: nothing becomes its child."""
    with _span(name, kind, parent, attributes) as opened:
        yield opened


@contextmanager
def _span(
    name: str, kind: SpanKind, parent: Context | None, attributes: Mapping[str, Value]
) -> Iterator[Span]:
    named = {f"saccade.{key}": value for key, value in attributes.items()}
    opened = _tracer.start_span(name, parent, kind, named)
    try:
        yield opened
    except (asyncio.CancelledError, GeneratorExit):
        opened.set_attribute("saccade.cancelled", True)
        raise
    except BaseException as error:
        failed(opened, error)
        raise
    finally:
        opened.end()


def failed(opened: Span, error: BaseException) -> None:
    """Mark a span as one of work that failed."""
    opened.set_attribute("error.type", type(error).__name__)
    opened.set_status(StatusCode.ERROR)


def past(name: str, ms: float, *, ended_ms_ago: float = 0.0, **attributes: Value) -> None:
    """A part of the work at hand that has ended already, and took so long."""
    end_ns = time.time_ns() - round(ended_ms_ago * 1e6)
    named = {f"saccade.{key}": value for key, value in attributes.items()}
    opened = _tracer.start_span(name, attributes=named, start_time=end_ns - round(ms * 1e6))
    opened.end(end_ns)


def carrier(of: Span | None = None) -> dict[str, str]:
    """What tells another process which span its work belongs to; empty without a trace."""
    found: dict[str, str] = {}
    _W3C.inject(found, None if of is None else set_span_in_context(of))
    return found


def parent_in(carried: Iterable[tuple[str | bytes, str | bytes]]) -> Context:
    """The span that another process has named in headers or metadata; what else these have, and
    what is not well-formed, is ignored."""
    texts = ((_text(name).lower(), value) for name, value in carried)
    found = {name: _text(value) for name, value in texts if name in _W3C.fields}
    # Not on top of the current context: without a parent it is a trace of its own.
    return _W3C.extract(found, context=Context())


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def trace_id() -> str | None:
    """Of the work at hand, for logs."""
    current = get_current_span()
    if current is INVALID_SPAN or not current.get_span_context().is_valid:
        return None
    return format(current.get_span_context().trace_id, "032x")
