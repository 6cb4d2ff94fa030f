"""The outermost layer: request ids, the list of routes, errors, access log, request metrics."""

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from opentelemetry.trace import Span, SpanKind, StatusCode

from saccade.serving import tracing
from saccade.serving.api.asgi import (
    App,
    ClientDisconnectedError,
    Message,
    Receive,
    Scope,
    Send,
    header,
    send_json,
)
from saccade.serving.api.envelope import INTERNAL_MESSAGE, send_error
from saccade.serving.errors import InternalError, MethodNotAllowedError, NotFoundError, SaccadeError
from saccade.serving.gateway.metrics import GatewayMetrics

log = logging.getLogger("saccade.access")

Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]
Routes = Mapping[str, Mapping[str, Endpoint]]
"""Path to method to endpoint. A path that ends in `/*` takes anything below it."""

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_QUIET_PATHS = frozenset({"/livez", "/readyz", "/health", "/metrics"})


class Edge:
    """The ASGI application that the server runs."""

    def __init__(self, routes: Routes, lifespan: App, metrics: GatewayMetrics) -> None:
        self._routes = routes
        self._lifespan = lifespan
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _QUIET_PATHS:
            await self._exchange(scope, receive, send)
            return
        name = f"{scope['method']} {self._route(scope)}"
        parent = tracing.parent_in(scope["headers"])
        with tracing.span(name, SpanKind.SERVER, parent) as span:
            exchange = await self._exchange(scope, receive, send)
            self._describe(span, scope, exchange.status or 500)

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> "_Exchange":
        request_id = _request_id(scope)
        scope["state"] = {"request_id": request_id}
        exchange = _Exchange(send, request_id)
        try:
            await self._endpoint(scope)(scope, receive, exchange.send)
        except ClientDisconnectedError:
            exchange.status = exchange.status or 499
        except SaccadeError as error:
            await exchange.fail(error)
        except Exception:
            log.exception("request %s failed", request_id)
            await exchange.fail(InternalError(INTERNAL_MESSAGE))
        finally:
            self._finish(scope, exchange)
        return exchange

    def _endpoint(self, scope: Scope) -> Endpoint:
        path, method = scope["path"], scope["method"]
        methods = self._routes.get(path) or self._below(path)
        if methods is None:
            raise NotFoundError(f"There is no route {path}.")
        endpoint = methods.get(method)
        if endpoint is None:
            allowed = sorted(methods)
            raise MethodNotAllowedError(
                f"{path} takes {', '.join(allowed)}, not {method}.", allowed=allowed
            )
        return endpoint

    def _below(self, path: str) -> Mapping[str, Endpoint] | None:
        """The methods of the longest `/*` route above `path`."""
        parent = path
        while parent.count("/") > 1:
            parent = parent.rpartition("/")[0]
            if (methods := self._routes.get(parent + "/*")) is not None:
                return methods
        return None

    def _route(self, scope: Scope) -> str:
        """As metrics and traces have it: whatever is asked for, there are few of them."""
        return scope["path"] if scope["path"] in self._routes else "other"

    def _describe(self, span: Span, scope: Scope, status: int) -> None:
        span.set_attribute("http.request.method", scope["method"])
        span.set_attribute("http.route", self._route(scope))
        span.set_attribute("http.response.status_code", status)
        span.set_attribute("saccade.request_id", scope["state"]["request_id"])
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        context = scope["state"].get("context")
        if context is not None:
            span.set_attribute("saccade.tenant", context.tenant)
            span.set_attribute("saccade.modality", context.modality)
            span.set_attribute("saccade.group", context.group)
            span.set_attribute("saccade.visual_tokens", context.num_visual_tokens)
            span.set_attribute("saccade.visual_tokens_kept", context.num_visual_tokens_kept)

    def _finish(self, scope: Scope, exchange: "_Exchange") -> None:
        path = scope["path"]
        route = self._route(scope)
        context = scope["state"].get("context")
        modality = "text" if context is None else context.modality
        self._metrics.requests.labels(route, modality, str(exchange.status or 500)).inc()
        log.log(
            logging.DEBUG if path in _QUIET_PATHS else logging.INFO,
            "%s %s %s %.0f ms",
            scope["method"],
            # Decoded, it may hold line breaks.
            quote(path, safe="/*"),
            exchange.status,
            (time.perf_counter() - exchange.started) * 1e3,
            extra={
                "request_id": exchange.request_id,
                "tenant": context.tenant if context is not None else None,
                "status": exchange.status,
                **({"trace_id": trace_id} if (trace_id := tracing.trace_id()) else {}),
            },
        )


class _Exchange:
    """One response: its status, and the request id on its headers."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status: int | None = None
        self.started = time.perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], (b"x-request-id", self.request_id.encode())]
            message = {**message, "headers": headers}
        await self._send(message)

    async def fail(self, error: SaccadeError) -> None:
        if self.status is None:
            await send_error(self.send, error)


def _request_id(scope: Scope) -> str:
    """The client's, when it is fit for logs and headers; else a new one."""
    given = header(scope, b"x-request-id")
    return given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def json_endpoint(make: Callable[[Scope], Awaitable[tuple[int, Any]]]) -> Endpoint:
    """An endpoint from a function that returns status and JSON content."""

    async def endpoint(scope: Scope, _: Receive, send: Send) -> None:
        status, content = await make(scope)
        await send_json(send, status, content)

    return endpoint
