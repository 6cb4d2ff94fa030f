"""How requests end that do not run to their end: deadlines, and clients who leave."""

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio

from saccade.serving.api.asgi import Receive, Send, send_json
from tests.unit.api.exchange import checked_error, settled
from tests.unit.api.guarding import (
    STREAM_START,
    TOKENIZE,
    Behaviour,
    Inner,
    Server,
    about,
    never,
    say,
    stream_forever,
    text,
)
from tests.unit.api.rewriting import KEEP_ALIVE, chunk
from tests.unit.loop_clock import LoopClock

TIMEOUT_S = 60.0


@pytest_asyncio.fixture
async def clock() -> LoopClock:
    return LoopClock()


class Handler:
    """Answers in a task of its own, and listens for the client beside it, as vLLM's routes do."""

    def __init__(self) -> None:
        self.cancelled = False

    async def __call__(self, receive: Receive, send: Send) -> None:
        handler = asyncio.create_task(self._handle())
        listener = asyncio.create_task(self._listen(receive))
        done, pending = await asyncio.wait([handler, listener], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await send_json(send, 200, handler.result() if handler in done else None)

    async def _handle(self) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            return {"error": {"message": "Client disconnected", "code": 400}}

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


def num_requests(server: Server, status: int) -> float:
    labels = {"route": "/v1/chat/completions", "modality": "text", "status": str(status)}
    return server.metrics.registry.get_sample_value("saccade_requests_total", labels) or 0.0


async def test_a_request_that_takes_too_long_gets_504(clock: LoopClock) -> None:
    server = Server(Inner(never), request_timeout_s=TIMEOUT_S)
    exchange = server.exchange(text())
    task = exchange.start()
    await settled()
    await clock.advance(TIMEOUT_S - 1)
    assert not exchange.started
    await clock.advance(1)
    await task
    assert (exchange.status, exchange.error["code"]) == (504, "deadline_exceeded")
    assert exchange.complete
    assert "60 s" in exchange.error["message"]
    assert server.inner.num_cancelled == 1
    assert server.admission.running == 0


async def test_a_stream_that_takes_too_long_ends_with_an_error_event(clock: LoopClock) -> None:
    async def stall(_: Receive, send: Send) -> None:
        await send(STREAM_START)
        await say(send, KEEP_ALIVE, chunk("one"))
        await asyncio.Event().wait()

    server = Server(Inner(stall), request_timeout_s=TIMEOUT_S)
    exchange = server.exchange(text(stream=True))
    task = exchange.start()
    await settled()
    assert exchange.body == KEEP_ALIVE + chunk("one")
    await clock.advance(TIMEOUT_S)
    await task
    assert exchange.status == 200
    assert exchange.complete
    first, error, done = exchange.events
    assert first == json.loads(chunk("one")[6:])
    assert checked_error(error)["code"] == "deadline_exceeded"
    assert done == "[DONE]"
    assert server.admission.running == 0


async def test_the_wait_for_room_counts_for_the_deadline(clock: LoopClock) -> None:
    server = Server(
        max_running=1, max_choices=1, request_timeout_s=TIMEOUT_S, queue_timeout_s=TIMEOUT_S * 9
    )
    async with server.admission.slot(1):
        exchange = server.exchange(text())
        task = exchange.start()
        await settled()
        await clock.advance(TIMEOUT_S)
        await task
    assert exchange.status == 504
    assert server.inner.bodies == []
    assert server.admission.running == 0


async def test_the_wait_for_a_picture_counts_for_the_deadline(clock: LoopClock) -> None:
    server = Server(request_timeout_s=TIMEOUT_S)
    exchange = server.exchange(about("http://never"))
    task = exchange.start()
    await settled()
    assert server.fetcher.num_fetching == 1
    await clock.advance(TIMEOUT_S)
    await task
    assert exchange.status == 504
    assert server.fetcher.num_fetching == 0
    assert server.inner.bodies == []


async def test_a_full_queue_is_left_after_its_own_time(clock: LoopClock) -> None:
    server = Server(max_running=1, max_choices=1, queue_timeout_s=5, request_timeout_s=TIMEOUT_S)
    async with server.admission.slot(1):
        exchange = server.exchange(text())
        task = exchange.start()
        await settled()
        await clock.advance(5)
        await task
    assert (exchange.status, exchange.error["code"]) == (503, "server_overloaded")
    assert "retry-after" in exchange.headers


async def test_a_deadline_ends_the_work_that_an_app_does_in_a_task_of_its_own(
    clock: LoopClock,
) -> None:
    handler = Handler()
    server = Server(Inner(handler), request_timeout_s=TIMEOUT_S)
    exchange = server.exchange(text())
    task = exchange.start()
    await settled()
    await clock.advance(TIMEOUT_S)
    await task
    await settled()
    assert (exchange.status, exchange.error["code"]) == (504, "deadline_exceeded")
    assert exchange.complete
    assert handler.cancelled


async def test_a_client_who_leaves_ends_the_work_that_an_app_does_in_a_task_of_its_own() -> None:
    handler = Handler()
    server = Server(Inner(handler))
    exchange = server.exchange(text())
    task = exchange.start()
    await settled()
    exchange.leave()
    await task
    await settled()
    assert handler.cancelled
    assert server.admission.running == 0


@pytest.mark.parametrize("behaviour", [never, stream_forever], ids=["whole", "streamed"])
async def test_a_client_who_leaves_ends_the_work(behaviour: Behaviour) -> None:
    server = Server(Inner(behaviour))
    exchange = server.exchange(text())
    task = exchange.start()
    await settled()
    assert server.inner.num_running == 1
    exchange.leave()
    await task
    assert server.inner.num_running == 0
    assert server.inner.num_cancelled == 1
    assert server.admission.running == 0


async def test_a_client_who_leaves_before_an_answer_is_counted_as_such() -> None:
    server = Server(Inner(never))
    exchange = server.exchange(text())
    task = exchange.start()
    await settled()
    exchange.leave()
    await task
    assert num_requests(server, 499) == 1
    assert not exchange.started


async def test_a_client_who_leaves_while_its_body_is_read_causes_nothing() -> None:
    server = Server()
    exchange = server.exchange(b"", chunks=[])
    exchange.leave()
    await exchange.run()
    assert server.inner.bodies == []
    assert num_requests(server, 499) == 1


async def test_a_client_who_leaves_while_pictures_are_fetched_ends_the_fetching() -> None:
    server = Server()
    exchange = server.exchange(about("http://never", "http://never"))
    task = exchange.start()
    await settled()
    assert server.fetcher.num_fetching == 2
    exchange.leave()
    await task
    assert server.fetcher.num_fetching == 0
    assert server.inner.bodies == []


async def test_a_client_who_leaves_the_queue_gives_its_place_up() -> None:
    server = Server(max_running=1, max_choices=1)
    async with server.admission.slot(1):
        first = server.exchange(text())
        task = first.start()
        await settled()
        first.leave()
        await task
    assert server.inner.bodies == []
    assert (await server.send(text())).status == 200
    assert server.admission.running == 0


async def test_a_client_who_leaves_is_seen_by_an_app_that_listens() -> None:
    heard: list[str] = []

    async def listen(receive: Receive, send: Send) -> None:
        heard.append((await receive())["type"])

    server = Server(Inner(listen))
    exchange = server.exchange(text())
    task = exchange.start()
    await settled()
    assert heard == []
    exchange.leave()
    await task
    assert heard == ["http.disconnect"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", TOKENIZE])
async def test_encoding_is_ended_with_its_request(path: str) -> None:
    server = Server()

    async def encode_on(_: Receive, send: Send) -> None:
        server.inner.contexts[0].encoded = asyncio.create_task(_forever())
        await send_json(send, 200, {})

    server.inner.behaviour = encode_on
    assert (await server.send(text(), path)).status == 200
    encoded = server.inner.contexts[0].encoded
    assert encoded is not None
    await settled()
    assert encoded.cancelled()


async def _forever() -> list[Any]:
    await asyncio.Event().wait()
    return []


async def test_nothing_is_left_running_after_an_answer() -> None:
    before = asyncio.all_tasks()
    server = Server()
    await server.send(text())
    await settled()
    assert asyncio.all_tasks() == before
