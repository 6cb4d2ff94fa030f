"""The gRPC service of an instance."""

from collections.abc import AsyncIterator
from typing import Any, NoReturn, TypeAlias

import grpc
from opentelemetry.context import Context as OfTrace
from opentelemetry.trace import Span, SpanKind

from saccade.serving import tracing
from saccade.serving.engine.runtime import EngineFailedError, LLMRuntime, RejectedError
from saccade.serving.instance.staging import StagedVisualTokens
from saccade.serving.transport.channel import CHANNEL_OPTIONS
from saccade.serving.transport.instance_pb2 import (
    AbortReply,
    AbortRequest,
    GenerateChunk,
    GenerateRequest,
    PrefillReply,
    PrefillRequest,
    ReleaseReply,
    ReleaseRequest,
)
from saccade.serving.transport.instance_pb2_grpc import (
    InstanceServicer,
    add_InstanceServicer_to_server,
)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class InstanceService(InstanceServicer):
    """Translates calls and errors; the work is the runtime's.

    A cancelled call raises CancelledError where it waits, which aborts the request in the engine.
    """

    def __init__(self, runtime: LLMRuntime, staged: StagedVisualTokens) -> None:
        self._runtime = runtime
        self._staged = staged

    async def Prefill(self, request: PrefillRequest, context: Context) -> PrefillReply:  # noqa: N802
        visual_tokens = self._staged.take(request.request_key)
        try:
            with tracing.detached("prefill", SpanKind.SERVER, _parent(context)) as span:
                _describe(span, request)
                handover, lease_s = await self._runtime.prefill(
                    request.request_key, request.prompt, visual_tokens
                )
        except (RejectedError, EngineFailedError) as error:
            await _abort(context, error)
        return PrefillReply(handover=handover, lease_s=lease_s)

    async def Generate(  # noqa: N802
        self, request: GenerateRequest, context: Context
    ) -> AsyncIterator[GenerateChunk]:
        visual_tokens = self._staged.take(request.request_key)
        name = "decode" if request.handover else "generate"
        try:
            with tracing.detached(name, SpanKind.SERVER, _parent(context)) as span:
                _describe(span, request)
                num_tokens = 0
                async for chunk in self._runtime.generate(request, visual_tokens):
                    num_tokens += len(chunk.token_ids)
                    span.set_attribute("gen_ai.usage.output_tokens", num_tokens)
                    yield chunk
        except (RejectedError, EngineFailedError) as error:
            await _abort(context, error)

    async def Abort(self, request: AbortRequest, context: Context) -> AbortReply:  # noqa: N802
        await self._runtime.abort(request.request_key)
        return AbortReply()

    async def Release(self, request: ReleaseRequest, context: Context) -> ReleaseReply:  # noqa: N802
        try:
            released = await self._runtime.release(request.request_key, request.handover)
        except EngineFailedError as error:
            await _abort(context, error)
        return ReleaseReply(released=released)


async def serve(service: InstanceService, host: str) -> tuple[grpc.aio.Server, str]:
    """Start a server on a free port; returns it and its address."""
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    add_InstanceServicer_to_server(service, server)
    port = server.add_insecure_port(f"{host}:0")
    await server.start()
    return server, f"{host}:{port}"


def _parent(context: Context) -> OfTrace:
    return tracing.parent_in(context.invocation_metadata() or ())


def _describe(span: Span, request: PrefillRequest | GenerateRequest) -> None:
    span.set_attribute("gen_ai.usage.input_tokens", len(request.prompt.token_ids))
    span.set_attribute("saccade.pictures", len(request.prompt.visual_spans))


async def _abort(context: Context, error: Exception) -> NoReturn:
    rejected = isinstance(error, RejectedError)
    code = grpc.StatusCode.INVALID_ARGUMENT if rejected else grpc.StatusCode.UNAVAILABLE
    await context.abort(code, str(error))
