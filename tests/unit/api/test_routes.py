from typing import cast

import pytest
from fastapi import FastAPI

from saccade.serving.api.asgi import Receive, Scope, Send, send_json
from saccade.serving.api.edge import Edge
from saccade.serving.api.guard import Guard
from saccade.serving.api.probes import Readiness
from saccade.serving.api.tenants import Tenants
from saccade.serving.config.api import ApiConfig
from saccade.serving.config.visual_cache import VisualCacheConfig
from saccade.serving.gateway.engine_metrics import EngineMetrics
from saccade.serving.routes import routes
from tests.unit.api.exchange import send
from tests.unit.gateway.fakes import NUM_BYTES, Cluster, a_request

KEY = {"authorization": "Bearer sk-12345678"}
SERVED = {
    "/v1/chat/completions",
    "/v1/completions",
    "/tokenize",
    "/detokenize",
    "/v1/models",
    "/v1/models/*",
    "/saccade/cache",
    "/livez",
    "/readyz",
    "/health",
    "/version",
    "/metrics",
}
# Some of what vLLM's app would serve.
NOT_SERVED = [
    *("/inference/v1/generate", "/invocations", "/scale_elastic_ep", "/v1/responses"),
    *("/v1/messages", "/v1/embeddings", "/v1/audio/transcriptions", "/v1/load_lora_adapter"),
    *("/pause", "/sleep", "/reset_prefix_cache", "/collective_rpc", "/docs", "/openapi.json"),
    *("/v1/chat/completions/batch", "/v1/chat/completions/render", "/ping", "/server_info"),
]


class StandIn:
    """For the guard and for vLLM's app: says that it was reached."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send_: Send) -> None:
        self.paths.append(scope["path"])
        await send_json(send_, 200, {})

    generation = tokenization = __call__


class Server:
    def __init__(self, *, ready: bool = True, keys: bool = True) -> None:
        self.reached = StandIn()
        self.cluster = cluster = Cluster(visual_cache=VisualCacheConfig())
        keys_given = [{"key": "sk-12345678", "tenant": "one"}] if keys else []
        self.readiness = Readiness(cluster.instances, warm=ready)
        self.table = routes(
            cast(FastAPI, self.reached),
            cast(Guard, self.reached),
            Tenants(ApiConfig.model_validate({"keys": keys_given})),
            self.readiness,
            cluster.metrics,
            cluster.visual,
            EngineMetrics(cluster.instances),
        )
        self.edge = Edge(self.table, lifespan=self.reached, metrics=cluster.metrics)


def test_the_list_of_what_is_served_is_this_one() -> None:
    assert Server().table.keys() == SERVED


@pytest.mark.parametrize("path", NOT_SERVED)
async def test_what_is_not_on_the_list_never_reaches_vllm(path: str) -> None:
    server = Server()
    for method in ("GET", "POST"):
        assert (await send(server.edge, path, method=method, headers=KEY)).status == 404
    assert server.reached.paths == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/tokenize"])
async def test_what_takes_a_body_takes_post_alone(path: str) -> None:
    server = Server()
    assert (await send(server.edge, path)).status == 200
    assert (await send(server.edge, path, method="GET")).status == 405
    assert server.reached.paths == [path]


async def test_the_list_of_models_is_for_those_with_a_key() -> None:
    server = Server()
    assert (await send(server.edge, "/v1/models", method="GET")).status == 401
    assert (await send(server.edge, "/v1/models/tiny", method="GET")).status == 401
    assert server.reached.paths == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/metrics"])
async def test_probes_need_no_key(path: str, method: str) -> None:
    assert (await send(Server().edge, path, method=method)).status == 200


async def test_who_is_alive_may_not_be_ready() -> None:
    server = Server(ready=False)
    assert (await send(server.edge, "/livez", method="GET")).json == {"alive": True}
    exchange = await send(server.edge, "/readyz", method="GET")
    assert (exchange.status, exchange.json["ready"]) == (503, False)
    server.readiness.warm = True
    exchange = await send(server.edge, "/readyz", method="GET")
    assert (exchange.status, exchange.json["ready"]) == (200, True)


async def test_metrics_are_prometheus_text_and_count_requests() -> None:
    server = Server()
    await send(server.edge, "/livez", method="GET")
    exchange = await send(server.edge, "/metrics", method="GET")
    assert exchange.headers["content-type"].startswith("text/plain")
    counted = 'saccade_requests_total{modality="text",route="/livez",status="200"} 1.0'
    assert counted in exchange.body.decode()
    for name in ("saccade_kv_transfers_total", 'saccade_visual_tokens_total{stage="kept"}'):
        assert f"\n{name} 0.0" in exchange.body.decode()


async def test_the_cache_is_for_those_with_a_key() -> None:
    server = Server()
    for method in ("GET", "DELETE"):
        assert (await send(server.edge, "/saccade/cache", method=method)).status == 401
    assert server.cluster.world.calls == []


async def test_the_cache_says_what_it_holds_and_gives_up_what_is_the_callers() -> None:
    server = Server()
    for tenant in ("one", "one", "another"):
        await server.cluster.answer(a_request(1, tenant=tenant))
    stats = (await send(server.edge, "/saccade/cache", method="GET", headers=KEY)).json
    assert (stats["encoded"], stats["joined"]) == (2, 0)
    assert stats["hits"] == {"shared": 1, "memory": 0, "disk": 0}
    assert stats["saved_ms"]["shared"] == 5.0
    [row] = stats["tiers"]
    assert (row["tier"], row["instance"]) == ("shared", "gateway")
    assert (row["entries"], row["bytes"]) == (2, 2 * NUM_BYTES)
    cleared = await send(server.edge, "/saccade/cache", method="DELETE", headers=KEY)
    assert cleared.json == {"removed_entries": 2}  # the gateway's, and the fake instance's
    assert server.cluster.visual.stats()["shared"].num_entries == 1
