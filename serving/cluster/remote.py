"""Calls to an instance: Ray for encoding and staging, gRPC for tokens."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import ray
from ray.exceptions import ObjectLostError, RayActorError, RayError, RayTaskError

from saccade.serving.caches.keys import PictureId
from saccade.serving.errors import InvalidRequestError, SaccadeError
from saccade.serving.gateway.instances import Encoded, InstanceError, LostVisualTokensError
from saccade.serving.instance.actor import EncodeReport, InstanceCheck
from saccade.serving.media.load import Clip, Encodable
from saccade.serving.transport.channel import open_channel
from saccade.serving.transport.instance_pb2 import (
    AbortRequest,
    GenerateChunk,
    GenerateRequest,
    PrefillRequest,
    Prompt,
    ReleaseRequest,
)
from saccade.serving.transport.instance_pb2_grpc import InstanceStub

if TYPE_CHECKING:
    from saccade.serving.instance.pruning import PruningOrder

# A CPU engine may be busy with one step for seconds.
CHECK_TIMEOUT_S = 15.0


class RemoteInstance:
    """Implements `serving.gateway.instances.InstanceClient`."""

    def __init__(self, name: str, actor: Any, grpc_address: str | None) -> None:
        self._name = name
        self._actor = actor
        self._channel = open_channel(grpc_address) if grpc_address else None
        self._stub: Any = InstanceStub(self._channel) if self._channel else None

    async def encode(
        self, picture: Encodable, identity: PictureId | None, pruning: "PruningOrder | None"
    ) -> Encoded:
        if isinstance(picture, Clip):
            call = self._actor.encode_clip.options(num_returns=2)
            returned = call.remote(identity, pruning, picture.header, *picture.files)
        else:
            call = self._actor.encode.options(num_returns=2)
            returned = call.remote(identity, pruning, picture.data)
        reference, report_reference = returned
        try:
            report: EncodeReport = await report_reference
        except RayError as error:
            self._raise(error, picture.param)
        finally:
            # Does nothing to a call that is done.
            ray.cancel(report_reference)
        return Encoded(
            reference,
            report.num_visual_tokens,
            report.preprocess_ms,
            report.encode_ms,
            report.source,
            report.num_bytes,
            report.cost_ms,
            report.saved_ms,
            report.prune_ms,
            report.pruning,
            report.step_counts,
        )

    async def clear_visual_cache(self, owner: str | None) -> int:
        try:
            num_entries: int = await self._actor.clear_visual_cache.remote(owner)
        except RayError as error:
            self._raise(error, None)
        return num_entries

    async def stage_visual_tokens(self, request_key: str, references: Sequence[Any]) -> None:
        try:
            await self._actor.stage_visual_tokens.remote(request_key, *references)
        except RayError as error:
            self._raise(error, None)

    async def prefill(self, request_key: str, prompt: Prompt) -> tuple[bytes, float]:
        try:
            reply = await self._stub.Prefill(PrefillRequest(request_key=request_key, prompt=prompt))
        except grpc.aio.AioRpcError as error:
            self._raise_rpc(error)
        return reply.handover, reply.lease_s

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]:
        call = self._stub.Generate(request)
        finished = False
        try:
            async for chunk in call:
                finished = bool(chunk.finish_reason)
                yield chunk
        except grpc.aio.AioRpcError as error:
            self._raise_rpc(error)
        finally:
            # A reader who leaves early ends the request in the engine; a no-op when it is done.
            call.cancel()
        if not finished:
            raise InstanceError(self._name, "the stream of tokens ended without a finish reason")

    async def abort(self, request_key: str) -> None:
        try:
            await self._stub.Abort(AbortRequest(request_key=request_key))
        except grpc.aio.AioRpcError as error:
            self._raise_rpc(error)

    async def release(self, request_key: str, handover: bytes) -> bool:
        try:
            reply = await self._stub.Release(
                ReleaseRequest(request_key=request_key, handover=handover)
            )
        except grpc.aio.AioRpcError as error:
            self._raise_rpc(error)
        released: bool = reply.released
        return released

    async def check(self) -> InstanceCheck:
        """How things are there.

        Raises:
            InstanceError: the actor or its engine is dead, or does not answer in time.
        """
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                check: InstanceCheck = await self._actor.check.remote()
                return check
        except TimeoutError:
            raise InstanceError(self._name, f"no answer for {CHECK_TIMEOUT_S:g} s") from None
        except RayError as error:
            self._raise(error, None)

    async def close(self) -> None:
        if self._channel:
            await self._channel.close()

    def _raise(self, error: RayError, param: str | None) -> NoReturn:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, SaccadeError):
            raise type(cause)(cause.message, param=param, code=cause.code) from None
        if isinstance(cause, ObjectLostError):
            raise LostVisualTokensError(self._name, str(cause)) from error
        reason = "its process is gone" if isinstance(error, RayActorError) else str(cause)
        raise InstanceError(self._name, reason) from error

    def _raise_rpc(self, error: grpc.aio.AioRpcError) -> NoReturn:
        if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
            raise InvalidRequestError(error.details() or "the engine refuses the request") from None
        raise InstanceError(self._name, f"{error.code().name}: {error.details()}") from error
