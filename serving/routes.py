"""The routes that are served. What is not listed here is a 404, whatever vLLM's app offers."""

from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import saccade
from saccade.serving.api.asgi import App, Receive, Scope, Send, send_bytes
from saccade.serving.api.cache import cache_endpoints
from saccade.serving.api.edge import Endpoint, Routes, json_endpoint
from saccade.serving.api.guard import Guard
from saccade.serving.api.probes import Readiness
from saccade.serving.api.tenants import Tenants
from saccade.serving.errors import NotFoundError
from saccade.serving.gateway.engine_metrics import EngineMetrics
from saccade.serving.gateway.metrics import GatewayMetrics
from saccade.serving.gateway.visual import VisualTokenSource

if TYPE_CHECKING:
    from fastapi import FastAPI


def routes(
    app: "FastAPI",
    guard: Guard,
    tenants: Tenants,
    readiness: Readiness,
    metrics: GatewayMetrics,
    visual: VisualTokenSource,
    engines: EngineMetrics,
) -> Routes:
    """Path to method to endpoint."""
    return {
        "/v1/chat/completions": {"POST": guard.generation},
        "/v1/completions": {"POST": guard.generation},
        "/tokenize": {"POST": guard.tokenization},
        "/detokenize": {"POST": guard.tokenization},
        "/v1/models": {"GET": _authenticated(tenants, json_endpoint(_all_models(app)))},
        "/v1/models/*": {"GET": _authenticated(tenants, json_endpoint(_one_model(app)))},
        "/saccade/cache": cache_endpoints(tenants, visual, metrics.visual_cache, metrics.prefixes),
        "/livez": _get(json_endpoint(_alive)),
        "/readyz": _get(json_endpoint(_ready(readiness))),
        "/health": _get(app),
        "/version": _get(json_endpoint(_version)),
        "/metrics": _get(_exposition(metrics, engines)),
    }


def _get(endpoint: Endpoint | App) -> dict[str, Endpoint]:
    return {"GET": endpoint, "HEAD": endpoint}


def _authenticated(tenants: Tenants, endpoint: Endpoint | App) -> Endpoint:
    async def authenticated(scope: Scope, receive: Receive, send: Send) -> None:
        tenants.tenant_of(scope)
        await endpoint(scope, receive, send)

    return authenticated


async def _alive(_: Scope) -> tuple[int, Any]:
    return 200, {"alive": True}


def _ready(readiness: Readiness) -> Any:
    async def ready(_: Scope) -> tuple[int, Any]:
        report = readiness.report()
        return (200 if report["ready"] else 503), report

    return ready


async def _version(_: Scope) -> tuple[int, Any]:
    from saccade.serving.engine.app import VLLM_VERSION

    return 200, {"version": saccade.__version__, "vllm": VLLM_VERSION}


def _all_models(app: "FastAPI") -> Any:
    async def all_models(_: Scope) -> tuple[int, Any]:
        from saccade.serving.engine.app import list_models

        return 200, await list_models(app)

    return all_models


def _one_model(app: "FastAPI") -> Any:
    async def one_model(scope: Scope) -> tuple[int, Any]:
        from saccade.serving.engine.app import list_models

        wanted = scope["path"].removeprefix("/v1/models/")
        for model in (await list_models(app))["data"]:
            if model["id"] == wanted:
                return 200, model
        raise NotFoundError(
            f"The model `{wanted}` does not exist.", param="model", code="model_not_found"
        )

    return one_model


def _exposition(metrics: GatewayMetrics, engines: EngineMetrics) -> Endpoint:
    async def exposition(_: Scope, __: Receive, send: Send) -> None:
        body = generate_latest(metrics.registry) + await engines.exposition()
        await send_bytes(send, 200, body, CONTENT_TYPE_LATEST.encode())

    return exposition
