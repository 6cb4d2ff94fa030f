"""The Ray actor: one instance, with a vision encoder, a vLLM engine, or both."""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from saccade.scheduler.cluster import Role
from saccade.serving.caches.keys import PictureId
from saccade.serving.caches.stats import Source, Tier, TierStats
from saccade.serving.config.settings import Settings
from saccade.serving.engine.environment import prepare_environment
from saccade.serving.media.sampling import ClipHeader

if TYPE_CHECKING:
    from saccade.encoders.base import VisualTokens
    from saccade.encoders.pruning.stage import Report
    from saccade.serving.caches.block_events import KvEventSource
    from saccade.serving.instance.cached import Delivered
    from saccade.serving.instance.pruning import PruningOrder

LOG_LINES_IN_ERRORS = 12
# An engine ends within moments; a prefill that is still held keeps it from that.
ENGINE_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """What an instance is told when it is created."""

    name: str
    resident: frozenset[Role]
    threads: int
    device: str
    """Of the vision encoder, as torch names it."""
    socket_folder: str
    """vLLM leaves its sockets behind, so they go where the cluster cleans up."""
    settings: Settings

    @property
    def has_llm(self) -> bool:
        return bool({"prefill", "decode"} & self.resident)


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What an instance reports when it is ready."""

    grpc_address: str | None
    pid: int
    encoder_revision: str
    """Empty for an instance that keeps no visual tokens."""
    kept: frozenset[str]
    """Files whose visual tokens it found on its disk, by `bytes_key`."""
    kv_events: "KvEventSource | None" = None
    """Where its engine says which KV blocks it holds, if it does."""


@dataclass(frozen=True, slots=True)
class InstanceCheck:
    """What an instance reports every few seconds."""

    num_unfinished: int
    """Requests that the engine has not ended."""
    visual_cache: Mapping[Tier, TierStats]


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """What the gateway is told of visual tokens, which it does not look into."""

    num_visual_tokens: int
    num_bytes: int
    preprocess_ms: float
    encode_ms: float
    source: Source
    cost_ms: float
    saved_ms: float
    prune_ms: float
    pruning: "tuple[Report, ...]"
    step_counts: tuple[int, ...]
    """Of each step of a clip whose steps stand apart in the prompt."""


class InstanceStartError(Exception):
    """An instance could not start; the message has the reason and the end of its log."""


class InstanceActor:
    """Created by `serving.cluster.launch`. All methods run on the actor's one event loop."""

    def __init__(self, spec: InstanceSpec) -> None:
        prepare_environment(threads=spec.threads)
        self._spec = spec
        self._phase = "importing libraries"
        self._encode: Any = None
        self._prune: Any = None
        self._runtime: Any = None
        self._server: Any = None
        self._staged: Any = None
        self._loading: asyncio.Task[None] | None = None
        Path(spec.socket_folder).mkdir(parents=True, exist_ok=True)
        os.environ["VLLM_RPC_BASE_PATH"] = spec.socket_folder

    async def phase(self) -> str:
        """What `start` is doing, for people who wait."""
        return self._phase

    async def start(self) -> InstanceFacts:
        """Load what the roles need and listen.

        Raises:
            InstanceStartError: with the reason.
        """
        try:
            if "encode" in self._spec.resident:
                await self._start_encoder()
            address = await self._start_llm() if self._spec.has_llm else None
        except Exception as error:
            raise InstanceStartError(_reason(error)) from None
        self._phase = "ready"
        encode = self._encode
        return InstanceFacts(
            address,
            os.getpid(),
            encode.revision if encode else "",
            encode.known() if encode else frozenset(),
            self._runtime.kv_events if self._runtime else None,
        )

    async def encode(
        self, picture: PictureId | None, pruning: "PruningOrder | None", data: bytes
    ) -> "tuple[VisualTokens, EncodeReport]":
        """Visual tokens of one picture, and how they came about; without an id uncached."""
        return await self._pruned(await self._encode.encode(data, picture), pruning)

    async def encode_clip(
        self,
        picture: PictureId | None,
        pruning: "PruningOrder | None",
        header: ClipHeader,
        *files: bytes,
    ) -> "tuple[VisualTokens, EncodeReport]":
        """The same of a clip: one video file, or its frames as pictures."""
        return await self._pruned(await self._encode.encode_clip(files, header, picture), pruning)

    async def clear_visual_cache(self, owner: str | None) -> int:
        """Forget what is kept, or what is one owner's; returns how many entries that were."""
        num_entries: int = await self._encode.clear(owner)
        return num_entries

    async def stage_visual_tokens(self, request_key: str, *visual_tokens: "VisualTokens") -> None:
        self._staged.put(request_key, visual_tokens)

    async def check(self) -> InstanceCheck:
        """How things are; raises when the engine is dead."""
        num_unfinished = 0
        if self._runtime is not None:
            await self._runtime.check()
            num_unfinished = self._runtime.num_unfinished
        return InstanceCheck(num_unfinished, self._encode.stats() if self._encode else {})

    async def stop(self, timeout_s: float) -> None:
        """End calls, engine and threads; the process is left to Ray.

        An engine that is still loading is waited for, `timeout_s` at most: killed half-way, it
        leaves a semaphore behind.
        """
        if self._loading is not None:
            await asyncio.wait({self._loading}, timeout=timeout_s)
        if self._server is not None:
            await self._server.stop(grace=0)
        if self._encode is not None:
            self._encode.close()
            self._prune.close()
        if self._runtime is not None:
            await asyncio.to_thread(self._runtime.shutdown, ENGINE_STOP_TIMEOUT_S)
        await asyncio.to_thread(_remove_semaphores)

    async def _start_encoder(self) -> None:
        from saccade.serving.instance import assembly

        settings = self._spec.settings
        self._phase = "loading vision tower"
        encoder = await asyncio.to_thread(assembly.load_encoder, settings, self._spec.device)
        self._prune = await asyncio.to_thread(assembly.prune_stage, settings)
        cache = await asyncio.to_thread(assembly.token_cache, settings, self._spec.name)
        self._encode = assembly.encode_stage(encoder, cache, settings, self._spec.threads)

    async def _pruned(
        self, done: "Delivered", order: "PruningOrder | None"
    ) -> "tuple[VisualTokens, EncodeReport]":
        if order is None:
            return done.features.tokens, _report(done, done.features.tokens)
        pruned = await self._prune.prune(done.features, order)
        return pruned.tokens, _report(done, pruned.tokens, pruned.ms, pruned.reports)

    async def _load(self, load: Awaitable[Any]) -> None:
        self._runtime = await load

    async def _start_llm(self) -> str:
        host = ray.util.get_node_ip_address()
        os.environ["VLLM_NIXL_SIDE_CHANNEL_HOST"] = host
        os.environ.setdefault("VLLM_HOST_IP", host)
        os.environ["VLLM_NIXL_SIDE_CHANNEL_PORT"] = str(_free_port(host))
        runtime_module = await asyncio.to_thread(_import_runtime)
        from saccade.serving.instance.service import InstanceService, serve
        from saccade.serving.instance.staging import StagedVisualTokens

        settings = self._spec.settings
        self._phase = "loading LLM"
        load = asyncio.to_thread(runtime_module.LLMRuntime.load, settings)
        self._loading = asyncio.create_task(self._load(load))
        await self._loading
        self._staged = StagedVisualTokens(settings.cluster.stage_timeout_s * 2)
        service = InstanceService(self._runtime, self._staged)
        self._server, address = await serve(service, host)
        return address


def _report(
    done: "Delivered",
    tokens: "VisualTokens",
    prune_ms: float = 0.0,
    pruning: "tuple[Report, ...]" = (),
) -> EncodeReport:
    from saccade.serving.caches.tokens import num_token_bytes

    return EncodeReport(
        len(tokens.embeddings),
        num_token_bytes(tokens),
        done.preprocess_ms,
        done.encode_ms,
        done.source,
        done.cost_ms,
        done.saved_ms,
        prune_ms,
        pruning,
        tokens.step_counts,
    )


def _remove_semaphores() -> None:
    """Let Python's resource tracker remove what an engine that was killed has left in shared
    memory; Ray would end the tracker together with this process, before it gets to that."""
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


def _import_runtime() -> Any:
    from saccade.serving.engine import runtime

    return runtime


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _reason(error: Exception) -> str:
    """The error, and the lines of this process's log that explain it.

    vLLM's engine process reports its own failure only there ("See root cause above").
    """
    tail = deque(_own_log_lines(), maxlen=LOG_LINES_IN_ERRORS)
    text = f"{type(error).__name__}: {error}"
    return "\n  | ".join([text, *tail])


def _own_log_lines() -> list[str]:
    # Ray points stderr of a worker at a file.
    path = Path(f"/proc/{os.getpid()}/fd/2")
    try:
        lines = path.resolve().read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip() and "Error" in line]
