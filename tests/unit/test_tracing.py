"""Spans: which there are, whose children they are, and what they never say."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from saccade.serving import tracing
from saccade.serving.cluster.remote import RemoteInstance
from saccade.serving.config.tracing import TracingConfig
from saccade.serving.transport.instance_pb2 import (
    GenerateChunk,
    GenerateRequest,
    PrefillReply,
    Prompt,
)
from saccade.serving.transport.instance_pb2_grpc import (
    InstanceServicer,
    add_InstanceServicer_to_server,
)
from tests.unit.api.guarding import CHAT, Inner, Server, answer, never, text

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
CLIENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


class Spans:
    """Those that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def __call__(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self._exporter.get_finished_spans() if span.name == name]
        return found

    def names(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]

    def parent(self, name: str) -> str | None:
        """Name of its parent; the hexadecimal id of one that is elsewhere."""
        parent = self(name).parent
        if parent is None:
            return None
        here = {one.context.span_id: one.name for one in self._exporter.get_finished_spans()}
        return here.get(parent.span_id, format(parent.span_id, "016x"))


@pytest.fixture
def spans() -> Iterator[Spans]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with tracing.using(provider):
        yield Spans(exporter)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


# The gateway -----------------------------------------------------------------------------------


async def test_a_request_is_a_child_of_its_clients_span(spans: Spans) -> None:
    server = Server(Inner(answer))
    await server.send(text(), headers=CLIENT)
    span = spans(f"POST {CHAT}")
    assert span.kind is SpanKind.SERVER
    assert format(span.context.trace_id, "032x") == TRACE
    assert spans.parent(f"POST {CHAT}") == PARENT
    found = attributes(span)
    assert (found["http.route"], found["http.response.status_code"]) == (CHAT, 200)
    assert (found["saccade.modality"], found["saccade.tenant"]) == ("text", "default")
    assert spans.parent("queue") == f"POST {CHAT}"


@pytest.mark.parametrize("header", [None, "00-nonsense", f"00-{'0' * 32}-{'0' * 16}-01", "ä"])
async def test_without_a_clients_span_a_request_is_a_trace_of_its_own(
    spans: Spans, header: str | None
) -> None:
    server = Server(Inner(answer))
    await server.send(text(), headers={"traceparent": header} if header else {})
    assert spans.parent(f"POST {CHAT}") is None


async def test_a_client_that_is_not_traced_leaves_nothing(spans: Spans) -> None:
    await Server(Inner(answer)).send(text(), headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert spans.names() == []


@pytest.mark.parametrize(
    ("path", "name"), [("/etc/passwd", "POST other"), ("/readyz", None), ("/metrics", None)]
)
async def test_names_are_few_and_probes_are_quiet(
    spans: Spans, path: str, name: str | None
) -> None:
    await Server().send(text(), path)
    assert spans.names() == ([name] if name else [])


async def test_failures_are_seen_without_their_messages(spans: Spans) -> None:
    async def fail(_: Any, __: Any) -> None:
        raise RuntimeError("http://secret/picture.png")

    assert (await Server(Inner(fail)).send(text())).status == 500
    span = spans(f"POST {CHAT}")
    assert span.status.status_code is StatusCode.ERROR
    assert "secret" not in span.to_json()


async def test_a_client_who_leaves_is_no_error(spans: Spans) -> None:
    exchange = Server(Inner(never)).exchange(text())
    running = exchange.start()
    await asyncio.sleep(0)
    exchange.leave()
    await running
    span = spans(f"POST {CHAT}")
    assert attributes(span)["http.response.status_code"] == 499
    assert span.status.status_code is StatusCode.UNSET


async def test_nothing_that_a_client_has_written_is_in_a_span(spans: Spans) -> None:
    server = Server(keys=[{"key": "sk-12345678", "tenant": "one"}])
    headers = {"authorization": "Bearer sk-12345678"}
    await server.send(text("my diary"), headers=headers)
    shown = spans(f"POST {CHAT}").to_json() + spans("queue").to_json()
    assert "diary" not in shown
    assert "sk-12345678" not in shown


async def test_without_tracing_there_is_no_trace_id_and_nothing_to_pass_on() -> None:
    assert (await Server(Inner(answer)).send(text(), headers=CLIENT)).status == 200
    with tracing.span("work"):
        assert tracing.carrier() == {}
        assert tracing.trace_id() is None


async def test_the_access_log_names_the_trace(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "saccade.access")
    await Server(Inner(answer)).send(text(), headers=CLIENT)
    (record,) = caplog.records
    assert record.__dict__["trace_id"] == TRACE
    assert spans.names()


# Other processes -------------------------------------------------------------------------------


class Instance(InstanceServicer):
    """Traces as `serving.instance.service` does."""

    async def Prefill(self, request: Any, context: Any) -> PrefillReply:  # noqa: N802
        parent = tracing.parent_in(context.invocation_metadata())
        with tracing.detached("there: prefill", SpanKind.SERVER, parent):
            return PrefillReply(handover=b"h", lease_s=1.0)

    async def Generate(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncGenerator[GenerateChunk, None]:
        parent = tracing.parent_in(context.invocation_metadata())
        with tracing.detached("there: generate", SpanKind.SERVER, parent):
            yield GenerateChunk(token_ids=[1])
            yield GenerateChunk(token_ids=[2], finish_reason="stop")


async def an_instance() -> tuple[Any, RemoteInstance]:
    server = grpc.aio.server()
    add_InstanceServicer_to_server(Instance(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, RemoteInstance("llm-0", None, f"127.0.0.1:{port}")


async def test_work_in_another_process_belongs_to_the_call(spans: Spans) -> None:
    server, instance = await an_instance()
    try:
        with tracing.span("request"):
            await instance.prefill("key", Prompt(token_ids=[1]))
            request = GenerateRequest(request_key="key", handover=b"h")
            chunks = [chunk async for chunk in instance.generate(request)]
    finally:
        await instance.close()
        await server.stop(None)
    assert len(chunks) == 2
    assert spans.parent("there: prefill") == "prefill"
    assert spans.parent("there: generate") == "decode"
    assert spans.parent("prefill") == spans.parent("decode") == "request"
    assert attributes(spans("prefill"))["saccade.instance"] == "llm-0"
    assert [event.name for event in spans("decode").events] == ["first token"]


async def test_a_reader_who_leaves_ends_the_spans(spans: Spans) -> None:
    server, instance = await an_instance()
    try:
        chunks = instance.generate(GenerateRequest(request_key="key"))
        await anext(chunks)
        await chunks.aclose()
    finally:
        await instance.close()
        await server.stop(None)
    assert attributes(spans("generate"))["saccade.cancelled"] is True
    assert spans("generate").status.status_code is StatusCode.UNSET


def test_a_part_that_is_over_has_the_time_that_it_took(spans: Spans) -> None:
    with tracing.span("encode"):
        tracing.past("preprocess", 20.0, ended_ms_ago=5.0)
        tracing.past("encode batch", 5.0)
    first, second = spans("preprocess"), spans("encode batch")
    assert first.start_time
    assert first.end_time
    assert second.start_time
    assert first.end_time - first.start_time == 20_000_000
    assert abs(second.start_time - first.end_time) < 1_000_000_000
    assert spans.parent("preprocess") == "encode"


def test_tracing_is_off_unless_there_is_a_collector() -> None:
    stop = tracing.start(TracingConfig(), "gateway")
    with tracing.span("work") as span:
        assert not span.is_recording()
    stop()


def test_stopping_goes_back_to_no_tracing() -> None:
    # Nobody listens there; what could not be sent is given up.
    config = TracingConfig(endpoint="http://127.0.0.1:1/v1/traces", sample_ratio=0.0)
    stop = tracing.start(config, "gateway")
    stop()
    with tracing.span("work") as span:
        assert not span.is_recording()
