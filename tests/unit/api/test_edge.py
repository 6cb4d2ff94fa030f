import logging
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from saccade.serving.api.asgi import (
    ClientDisconnectedError,
    Message,
    Receive,
    Scope,
    Send,
    send_json,
)
from saccade.serving.api.edge import Edge, Endpoint, json_endpoint
from saccade.serving.errors import InvalidRequestError
from saccade.serving.gateway.metrics import GatewayMetrics
from tests.unit.api.exchange import Exchange, send


async def hello(scope: Scope, receive: Receive, send_: Send) -> None:
    await send_json(send_, 200, {"path": scope["path"]})


async def named(scope: Scope) -> tuple[int, Any]:
    return 200, {"name": scope["path"].removeprefix("/models/")}


def failing(error: Exception, *, after: list[Message] | None = None) -> Endpoint:
    async def fail(scope: Scope, receive: Receive, send_: Send) -> None:
        for message in after or ():
            await send_(message)
        raise error

    return fail


class Server:
    def __init__(self, routes: Mapping[str, Endpoint] | None = None) -> None:
        self.metrics = GatewayMetrics(CollectorRegistry())
        table: dict[str, dict[str, Endpoint]] = {
            "/hello": {"GET": hello, "POST": hello},
            "/models/*": {"GET": json_endpoint(named)},
        }
        table |= {path: {"POST": endpoint} for path, endpoint in (routes or {}).items()}
        self.edge = Edge(table, lifespan=self._lifespan, metrics=self.metrics)
        self.lifespans = 0

    async def _lifespan(self, scope: Scope, receive: Receive, send_: Send) -> None:
        self.lifespans += 1

    def num_requests(self, route: str, status: int) -> float | None:
        labels = {"route": route, "modality": "text", "status": str(status)}
        return self.metrics.registry.get_sample_value("saccade_requests_total", labels)


async def test_a_request_goes_to_its_route() -> None:
    server = Server()
    exchange = await send(server.edge, "/hello")
    assert (exchange.status, exchange.json) == (200, {"path": "/hello"})
    assert server.num_requests("/hello", 200) == 1


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/hello/", "/hello/there", "/HELLO", "//hello", "", "/models"]
)
async def test_what_is_not_listed_is_not_found(path: str) -> None:
    server = Server()
    exchange = await send(server.edge, path)
    assert exchange.status == 404
    assert exchange.error["code"] == "not_found"
    assert server.num_requests("other", 404) == 1


@pytest.mark.parametrize("name", ["saccade-tiny", "llava-hf/llava-1.5-7b", "a/b/c"])
async def test_anything_below_a_route_with_a_star_is_found(name: str) -> None:
    exchange = await send(Server().edge, f"/models/{name}", method="GET")
    assert exchange.status == 200
    assert exchange.json == {"name": name}


async def test_a_method_that_a_path_does_not_take_is_refused_with_those_that_it_does() -> None:
    exchange = await send(Server().edge, "/hello", method="DELETE")
    assert exchange.status == 405
    assert exchange.error["code"] == "method_not_allowed"
    assert "GET, POST" in exchange.error["message"]


async def test_a_refused_method_comes_with_the_header_that_http_asks_for() -> None:
    exchange = await send(Server().edge, "/hello", method="DELETE")
    assert exchange.headers["allow"] == "GET, POST"


async def test_a_refusal_is_told_as_it_is() -> None:
    refusal = InvalidRequestError("no", param="messages[0]")
    exchange = await send(Server({"/x": failing(refusal)}).edge, "/x")
    assert exchange.status == 400
    assert (exchange.error["message"], exchange.error["param"]) == ("no", "messages[0]")


async def test_what_broke_inside_is_logged_and_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server({"/x": failing(RuntimeError("/srv/secret"))})
    exchange = await send(server.edge, "/x", headers={"x-request-id": "mine"})
    assert exchange.status == 500
    assert exchange.complete
    assert "secret" not in exchange.error["message"]
    assert server.num_requests("/x", 500) == 1
    broken = next(record for record in caplog.records if record.exc_info)
    assert "mine" in broken.getMessage()
    assert "/srv/secret" in str(broken.exc_info)


START: Message = {"type": "http.response.start", "status": 200, "headers": []}
SOME: Message = {"type": "http.response.body", "body": b"some", "more_body": True}


@pytest.mark.parametrize("error", [RuntimeError("secret"), InvalidRequestError("no")])
async def test_an_error_in_the_middle_of_a_response_cuts_it_off(error: Exception) -> None:
    server = Server({"/x": failing(error, after=[START, SOME])})
    exchange = await send(server.edge, "/x")
    # A second status would break the connection; without an end the client knows.
    assert (exchange.status, exchange.body) == (200, b"some")
    assert not exchange.complete
    assert server.num_requests("/x", 200) == 1


async def test_a_client_who_left_is_counted_and_gets_nothing() -> None:
    server = Server({"/x": failing(ClientDisconnectedError())})
    exchange = await send(server.edge, "/x")
    assert not exchange.started
    assert server.num_requests("/x", 499) == 1


@pytest.mark.parametrize("path", ["/hello", "/nothing"])
@pytest.mark.parametrize("request_id", ["abc-123", "!~", "x" * 128])
async def test_the_clients_request_id_comes_back(path: str, request_id: str) -> None:
    exchange = await send(Server().edge, path, headers={"X-Request-Id": request_id})
    assert exchange.headers["x-request-id"] == request_id


@pytest.mark.parametrize("request_id", ["", "a b", "a\nb", "x" * 129, "größer", "\x7f"])
async def test_an_unfit_request_id_is_replaced(request_id: str) -> None:
    exchange = await send(Server().edge, "/hello", headers={"X-Request-Id": request_id})
    assert exchange.headers["x-request-id"] not in ("", request_id)


async def test_requests_without_an_id_get_different_ones() -> None:
    server = Server()
    ids = {(await send(server.edge, "/hello")).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


async def test_the_request_id_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "saccade.access"):
        await send(Server().edge, "/hello", headers={"x-request-id": "mine"})
    record = caplog.records[-1]
    assert record.__dict__["request_id"] == "mine"
    assert record.__dict__["status"] == 200
    assert "POST /hello 200" in record.getMessage()


async def test_a_path_cannot_forge_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "saccade.access"):
        await send(Server().edge, "/hello\n2030-01-01 INFO saccade.access: forged")
    assert all("\n" not in record.getMessage() for record in caplog.records)


async def test_lifespan_events_go_to_the_app() -> None:
    server = Server()
    exchange = Exchange(server.edge)
    exchange.scope["type"] = "lifespan"
    await exchange.run()
    assert server.lifespans == 1


async def test_websockets_are_closed() -> None:
    exchange = Exchange(Server().edge)
    exchange.scope["type"] = "websocket"
    await exchange.run()
    assert [message["type"] for message in exchange.messages] == ["websocket.close"]
