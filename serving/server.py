"""One gateway process from start to stop: cluster, application, HTTP server, warm-up, drain."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import uvicorn
from prometheus_client import CollectorRegistry

from saccade.serving import tracing
from saccade.serving.api.admission import Admission
from saccade.serving.api.edge import Edge
from saccade.serving.api.guard import Guard
from saccade.serving.api.http_limits import BoundedHttpProtocol
from saccade.serving.api.in_flight import BytesInFlight
from saccade.serving.api.jwt import REFRESH_INTERVAL_S, JwksError, JwtTenants
from saccade.serving.api.probes import Readiness
from saccade.serving.api.tenants import Tenants
from saccade.serving.api.tls import ServerTls, TlsError
from saccade.serving.api.watching import watching
from saccade.serving.cluster.launch import Cluster, Progress, StartError
from saccade.serving.config.keys import KeysFileError
from saccade.serving.config.settings import Settings
from saccade.serving.gateway.ahead import TextAhead
from saccade.serving.gateway.context import LLM_STAGES, STAGES
from saccade.serving.gateway.dispatch import Dispatcher
from saccade.serving.gateway.engine_metrics import EngineMetrics
from saccade.serving.gateway.instances import Instances
from saccade.serving.gateway.loop_lag import watching_lag
from saccade.serving.gateway.metrics import GatewayMetrics
from saccade.serving.gateway.placing import Placer
from saccade.serving.gateway.prefixes import PrefixCaches
from saccade.serving.gateway.visual import VisualTokenSource
from saccade.serving.media.fetch import MediaFetcher
from saccade.serving.routes import routes
from saccade.serving.warmup import WarmUpError, warm_up

if TYPE_CHECKING:
    from saccade.serving.engine.client import GatewayEngineClient
    from saccade.serving.engine.placeholder import Placeholders
    from saccade.serving.gateway.pruning import PruningPolicy
    from saccade.serving.instance.actor import InstanceCheck

log = logging.getLogger(__name__)
T = TypeVar("T")


class StoppedError(Exception):
    """The server was told to stop while it was starting."""


class Gateway:
    """Build with settings, `run` once."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self._instances = Instances()
        self._metrics = GatewayMetrics(CollectorRegistry())
        self._metrics.instances.watch(self._instances)
        self._cluster = Cluster(settings, self._instances, self._on_check)
        self._prefixes = PrefixCaches(settings.prefix_index, self._metrics.prefixes)
        stages = STAGES if settings.serves_pictures else LLM_STAGES
        self._readiness = Readiness(self._instances, stages)
        timeout_s = settings.cluster.stage_timeout_s
        self._visual = VisualTokenSource(
            self._instances,
            self._metrics,
            settings.visual_cache,
            model=str(settings.model.path),
            stage_timeout_s=timeout_s,
        )
        prefix_index = settings.prefix_index
        placer = Placer(self._instances, self._prefixes, prefix_index.placement)
        self._ahead = TextAhead(
            self._instances, placer, min_tokens=prefix_index.ahead_tokens, timeout_s=timeout_s
        )
        self._dispatcher = Dispatcher(
            self._instances,
            self._metrics,
            self._visual,
            placer,
            self._ahead,
            stage_timeout_s=timeout_s,
        )

    async def run(
        self, stop: asyncio.Event, hurry: asyncio.Event, on_ready: Callable[[str], None]
    ) -> None:
        """Start, tell `on_ready` the base URL, serve until `stop`, drain unless `hurry`.

        Raises:
            StartError: something could not start; everything is stopped again.
            StoppedError: `stop` came first.
        """
        self._admission = Admission(self._settings.api, self._metrics)
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(_listen(self._settings))
            stop_tracing = tracing.start(self._settings.tracing, "gateway")
            stack.push_async_callback(asyncio.to_thread, stop_tracing)
            self._tenants = _tenants(self._settings)
            await stack.enter_async_context(watching(self._tenants.reload))
            if (tokens := self._tenants.jwt) is not None:
                await _fresh(tokens)
                keep_fresh = watching(tokens.keep_fresh, REFRESH_INTERVAL_S)
                await stack.enter_async_context(keep_fresh)
            self._tls = _tls(self._settings)
            if self._tls is not None:
                await stack.enter_async_context(watching(self._tls.reload))
            await stack.enter_async_context(watching_lag(self._metrics.loop_lag))
            # After the cluster, whose watchers have engines followed.
            stack.push_async_callback(self._prefixes.close)
            stack.push_async_callback(self._cluster.stop)
            fetcher = await stack.enter_async_context(MediaFetcher(self._settings.media))
            await _unless(stop, self._start(fetcher, stack, listener))
            on_ready(_base_url(listener, self._tls))
            await stop.wait()
            await self._drain(hurry)

    async def _start(
        self, fetcher: MediaFetcher, stack: AsyncExitStack, listener: socket.socket
    ) -> None:
        cluster = asyncio.ensure_future(self._cluster.start(self._note))
        build = asyncio.ensure_future(self._build(fetcher, stack))
        try:
            edge = await _first(build, cluster)
            # Listening early: probes can watch the instances load.
            server = _Server(http_config(edge, self._tls))
            serving = asyncio.ensure_future(server.serve(sockets=[listener]))
            stack.push_async_callback(_stop_http, server, serving)
            await cluster
        except BaseException:
            for task in (build, cluster):
                task.cancel()
            await asyncio.wait({build, cluster})
            raise
        self._note("warm-up", "one request through every instance")
        try:
            await warm_up(edge, self._settings, self._instances, self._tenants.own_key)
        except WarmUpError as error:
            raise StartError(str(error)) from None
        self._note("warm-up", "ready")
        self._readiness.starting.clear()
        self._readiness.warm = True

    async def _build(self, fetcher: MediaFetcher, stack: AsyncExitStack) -> Edge:
        self._note("gateway", "importing vLLM")
        try:
            client, placeholders = await asyncio.to_thread(self._load_engine_client)
            pruning = self._pruning_policy()
        except Exception as error:
            log.debug("the gateway could not start", exc_info=True)
            raise StartError(
                f"The model at {self._settings.model.path} cannot be served: {error}"
            ) from error
        stack.callback(client.shutdown)
        from saccade.serving.engine.app import build_vllm_app

        app = await build_vllm_app(self._settings, client)
        tenants = self._tenants
        guard = Guard(
            settings=self._settings,
            app=app,
            tenants=tenants,
            admission=self._admission,
            fetcher=fetcher,
            placeholders=placeholders,
            pruning=pruning,
            metrics=self._metrics,
            in_flight=BytesInFlight(
                self._settings.api.max_bytes_in_flight, self._metrics.bytes_in_flight
            ),
            is_ready=self._readiness.ready,
        )
        self._note("gateway", "ready")
        engines = EngineMetrics(self._instances)
        table = routes(app, guard, tenants, self._readiness, self._metrics, self._visual, engines)
        return Edge(table, lifespan=app, metrics=self._metrics)

    def _load_engine_client(self) -> "tuple[GatewayEngineClient, Placeholders | None]":
        from saccade.serving.engine.app import gateway_config
        from saccade.serving.engine.block_hashes import BlockHasher, hash_seed
        from saccade.serving.engine.client import GatewayEngineClient
        from saccade.serving.engine.codec import one_token
        from saccade.serving.engine.given import GivenTokens
        from saccade.serving.engine.handed import Receiver
        from saccade.serving.engine.placeholder import Placeholders

        client = GatewayEngineClient(  # type: ignore[abstract]  # completed at run time
            gateway_config(self._settings), self._dispatcher, self._is_healthy
        )
        block_size = self._settings.engine.block_size
        self._prefixes.hash_with(BlockHasher(block_size), block_size, hash_seed())
        self._ahead.sample_with(one_token())
        if not self._settings.takes_visual_tokens:
            return client, None
        from saccade.encoders.registry import ENCODERS

        family = ENCODERS.family(self._settings.model.path)
        receiver = Receiver.of(family, client.model_config)
        return client, Placeholders(
            family, GivenTokens(receiver, client.model_config.max_model_len)
        )

    def _pruning_policy(self) -> "PruningPolicy | None":
        """Raises `PruningError` for a default that is wrong."""
        if not self._settings.serves_pictures:
            return None
        from saccade.encoders.pruning.registry import installed
        from saccade.encoders.registry import ENCODERS
        from saccade.serving.gateway.pruning import PruningPolicy

        family = ENCODERS.family(self._settings.model.path)
        return PruningPolicy(self._settings.pruning, family, installed(), self._load)

    def _load(self) -> tuple[int, int]:
        """Requests that wait for admission, and answers that are being made."""
        return self._admission.queued, self._admission.running

    def _on_check(self, name: str, check: "InstanceCheck | None") -> None:
        self._metrics.on_check(name, check)
        self._prefixes.follow(name, self._instances[name].kv_events if check else None)

    def _is_healthy(self) -> bool:
        """For `/health`, as vLLM means it: an engine answers."""
        return self._readiness.stage_ready("decode")

    def _note(self, name: str, state: str) -> None:
        self._readiness.starting[name] = state
        self._progress(name, state)

    async def _drain(self, hurry: asyncio.Event) -> None:
        """Refuse new requests and let the running ones finish, for a bounded time."""
        self._readiness.draining = True
        self._admission.close()
        limit_s = self._settings.api.drain_timeout_s
        if self._admission.running:
            self._progress("drain", f"{self._admission.running} running, at most {limit_s:g} s")
        waits = {
            asyncio.ensure_future(self._admission.idle()),
            asyncio.ensure_future(hurry.wait()),
        }
        await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


class _Server(uvicorn.Server):
    """Signals are handled by the command, which also has a cluster to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def http_config(app: Any, tls: ServerTls | None) -> uvicorn.Config:
    """How HTTP is served, whatever the application."""
    return uvicorn.Config(
        app,
        log_config=None,
        lifespan="on",
        http=BoundedHttpProtocol,
        ssl_context_factory=None if tls is None else lambda _, __: tls.context,
        ws="none",
        server_header=False,
        # After the drain, so what is still running then is cut off.
        timeout_graceful_shutdown=1,
    )


async def _stop_http(server: _Server, serving: "asyncio.Future[Any]") -> None:
    server.should_exit = True
    await asyncio.wait({serving})


def _listen(settings: Settings) -> socket.socket:
    """Bind before anything slow, so that a taken port is known at once."""
    host, port = settings.api.host, settings.api.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"Cannot listen on {host}:{port}: {error.strerror}. "
            "Choose another with --port, or stop what is using it."
        ) from None
    return listener


def _tenants(settings: Settings) -> Tenants:
    try:
        return Tenants(settings.api)
    except KeysFileError as error:
        raise StartError(f"api.keys_file: {error}") from None


async def _fresh(tokens: JwtTenants) -> None:
    try:
        await tokens.refresh()
    except JwksError as error:
        raise StartError(f"api.jwt.jwks: {error}") from None


def _tls(settings: Settings) -> ServerTls | None:
    try:
        return None if settings.api.tls is None else ServerTls(settings.api.tls)
    except TlsError as error:
        raise StartError(f"api.tls: {error}") from None


def _base_url(listener: socket.socket, tls: ServerTls | None) -> str:
    scheme = "http" if tls is None else "https"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def _first(wanted: "asyncio.Future[T]", needed: "asyncio.Future[Any]") -> T:
    """The result of `wanted`, unless `needed` fails before it is there."""
    await asyncio.wait({wanted, needed}, return_when=asyncio.FIRST_COMPLETED)
    if not wanted.done():
        needed.result()
    return await wanted


async def _unless(stop: asyncio.Event, work: Awaitable[T]) -> T:
    """The result of `work`, or StoppedError when `stop` comes first."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise StoppedError
        return task.result()
    finally:
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
