"""Time to the first token, and to the end of the response."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from saccade.scheduler.placement import Placement
from saccade.serving.api.asgi import Message, send_json
from saccade.serving.api.response_times import ResponseTimes
from saccade.serving.errors import InternalError, OverloadedError
from saccade.serving.gateway.context import RequestContext, current_request
from saccade.serving.gateway.latency import LatencyMetrics
from tests.unit.api.guarding import Inner, Server, answer, say, text
from tests.unit.api.rewriting import KEEP_ALIVE, chunk, start, usage_chunk
from tests.unit.gateway.fakes import WHOLE, Clock, Cluster, a_request

TEXT = {"modality": "text", "group": "all"}


class Timed:
    def __init__(self, context: RequestContext | None = None) -> None:
        self.registry = CollectorRegistry()
        self.clock = Clock(0.0)
        self.context = context or a_request()
        self.sent: list[Message] = []
        self.times = ResponseTimes(
            self._send, LatencyMetrics(self.registry), self.context, self.clock
        )

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    async def take(self, at_s: float, body: bytes) -> None:
        self.clock.now_s = at_s
        await self.times.send({"type": "http.response.body", "body": body, "more_body": True})

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"saccade_{name}", labels or TEXT)


async def test_the_first_event_with_a_choice_is_the_first_token() -> None:
    timed = Timed()
    await timed.times.send(start("text/event-stream"))
    await timed.take(1.0, KEEP_ALIVE)
    await timed.take(2.0, usage_chunk())
    await timed.take(3.0, chunk("one"))
    await timed.take(5.0, chunk("two"))
    assert timed.value("time_to_first_token_seconds_sum") == 3.0
    assert timed.value("time_to_first_token_seconds_count") == 1
    timed.times.completed()
    assert timed.value("e2e_request_latency_seconds_sum") == 5.0
    assert len(timed.sent) == 5


async def test_a_picture_is_its_own_modality() -> None:
    timed = Timed(a_request(1))
    await timed.take(1.0, chunk("one"))
    assert timed.value("time_to_first_token_seconds_sum", modality="image", group="all") == 1.0


@pytest.mark.parametrize("how", ["error status", "error in the stream", "warm-up"])
async def test_what_did_not_succeed_and_the_warm_up_have_no_end(how: str) -> None:
    timed = Timed()
    await timed.times.send(start("application/json", 400 if how == "error status" else 200))
    if how == "error in the stream":
        timed.context.error = InternalError("broken")
    if how == "warm-up":
        timed.context.pinned = Placement("a", "a")
    timed.times.completed()
    assert timed.value("e2e_request_latency_seconds_count") is None


def counted(server: Server, name: str, **labels: Any) -> float:
    return server.metrics.registry.get_sample_value(f"saccade_{name}", labels) or 0.0


async def test_a_response_that_is_not_streamed_has_an_end_and_no_first_token() -> None:
    server = Server(Inner(answer))
    assert (await server.send(text())).status == 200
    assert counted(server, "e2e_request_latency_seconds_count", **TEXT) == 1
    assert counted(server, "time_to_first_token_seconds_count", **TEXT) == 0
    assert counted(server, "request_queue_time_seconds_count") == 1


async def test_only_answers_are_timed() -> None:
    server = Server(Inner(answer))
    await server.send(text(), "/tokenize")
    assert counted(server, "e2e_request_latency_seconds_count", **TEXT) == 0


async def test_refusals_are_counted_by_their_reason() -> None:
    server = Server(Inner(answer), ready=False)
    assert (await server.send(text())).status == 503
    assert counted(server, "admission_refusals_total", reason="not_ready") == 1
    full = Server(Inner(answer), max_bytes_in_flight=100_000, max_body_bytes=100_000)
    with full.guard.in_flight.lease() as other:
        other.take(99_990)
        assert (await full.send(text())).status == 429
    assert counted(full, "admission_refusals_total", reason="bytes_in_flight") == 1
    assert counted(full, "admission_refusals_total", reason="queue_full") == 0


async def test_a_failure_is_no_refusal() -> None:
    async def fail(_: Any, send: Any) -> None:
        await send(start("text/event-stream"))
        await say(send, chunk("one"))
        raise InternalError("broken")

    server = Server(Inner(fail))
    await server.send(text())
    assert counted(server, "e2e_request_latency_seconds_count", **TEXT) == 0
    reasons = {"queue_full", "queue_timeout", "not_ready", "no_instance", "bytes_in_flight"}
    assert not any(counted(server, "admission_refusals_total", reason=one) for one in reasons)


async def test_a_stage_that_nobody_serves_is_a_refusal() -> None:
    cluster = Cluster(WHOLE)
    cluster.instances["llm-0"].alive = False

    async def ask(_: Any, send: Any) -> None:
        context = current_request.get()
        try:
            await cluster.answer(context)
        except OverloadedError as error:
            # As the engine client does, whose error vLLM turns into a response of its own.
            context.error = error
        await send_json(send, 503, {"error": {"message": "busy", "code": 503}})

    server = Server(Inner(ask))
    assert (await server.send(text())).status == 503
    assert counted(server, "admission_refusals_total", reason="no_instance") == 1
