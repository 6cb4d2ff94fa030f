"""Takes one answer through its stages: prefill, hand-over, decode; encoding is in `visual`.

Knows instances by their protocol only (`serving.gateway.instances`); neither Ray nor vLLM.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from saccade.scheduler.placement import NoInstanceError, Placement
from saccade.scheduler.requests import RequestShape
from saccade.serving.errors import InternalError, InvalidRequestError, OverloadedError
from saccade.serving.gateway.ahead import TextAhead
from saccade.serving.gateway.context import Reference, RequestContext
from saccade.serving.gateway.handover import Handover
from saccade.serving.gateway.instances import (
    Instance,
    InstanceError,
    Instances,
    LostVisualTokensError,
    in_time,
)
from saccade.serving.gateway.metrics import GatewayMetrics
from saccade.serving.gateway.placing import Placer
from saccade.serving.gateway.prefixes import PrefixEstimate
from saccade.serving.gateway.visual import VisualTokenSource
from saccade.serving.transport.instance_pb2 import GenerateChunk, GenerateRequest, Prompt

log = logging.getLogger(__name__)

# A prefill is repeated when its hand-over fails before the first token.
MAX_PREFILLS = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to generate."""

    key: str
    """Unique among all answers of all requests."""
    prompt: Prompt
    sampling: bytes
    """vLLM's SamplingParams as msgpack."""
    one_instance: bool = False
    """Prefill and decode may not be split: prompt log-probabilities are asked for."""
    prefix: PrefixEstimate = field(default_factory=PrefixEstimate)


class Dispatcher:
    """Places answers on instances and moves what they need from stage to stage."""

    def __init__(
        self,
        instances: Instances,
        metrics: GatewayMetrics,
        visual: VisualTokenSource,
        placer: Placer,
        ahead: TextAhead,
        *,
        stage_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.instances = instances
        self._metrics = metrics
        self._visual = visual
        self._placer = placer
        self._ahead = ahead
        self._stage_timeout_s = stage_timeout_s
        self._clock = clock
        self._background: set[asyncio.Task[None]] = set()

    async def generate(
        self, context: RequestContext, answer: Answer
    ) -> AsyncGenerator[GenerateChunk, None]:
        """Yield the answer's tokens.

        Raises:
            OverloadedError: no instance serves a stage that is needed.
            InternalError: an instance failed.
        """
        with _as_answers(context):
            async with aclosing(self._generate(context, answer)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def visual_token_counts(self, context: RequestContext) -> list[tuple[int, ...]]:
        """How many tokens each picture of a request becomes, in each of its places; waits for what
        depends on content.

        Raises as `generate` does.
        """
        if all(pending.is_exact for pending in context.pictures):
            return [pending.reserved_counts for pending in context.pictures]
        with _as_answers(context):
            return [one.counts for one in await self._visual.references(context)]

    async def _generate(
        self, context: RequestContext, answer: Answer
    ) -> AsyncGenerator[GenerateChunk, None]:
        if answer.one_instance and not any(
            {"prefill", "decode"} <= instance.resident for instance in self.instances.values()
        ):
            raise InvalidRequestError(
                "Prompt log-probabilities are not served: no instance both prefills and decodes.",
                param="prompt_logprobs",
            )
        if context.pictures and context.pinned is None:
            self._in_background(self._ahead.run(context, answer.key + "/ahead", answer.prompt))
        references = await self._visual.references(context)
        self._metrics.prompt_tokens.inc(len(answer.prompt.token_ids))
        placement = context.pinned or self._place(context, answer)
        run = self._split if placement.split else self._whole
        async with aclosing(run(context, answer, placement, references)) as chunks:
            async for chunk in chunks:
                self._metrics.generation_tokens.inc(len(chunk.token_ids))
                self._placer.prefixes.settle(answer.prefix, answer.prompt, chunk)
                yield chunk

    # One instance ------------------------------------------------------------------------------

    async def _whole(
        self,
        context: RequestContext,
        answer: Answer,
        placement: Placement,
        references: list[Reference],
    ) -> AsyncGenerator[GenerateChunk, None]:
        """Prefill and decode on one instance."""
        instance = self.instances[_chosen(placement.decode)]
        await self._stage(context, instance, answer.key, references)
        request = self._request(answer)
        started = self._clock()
        first: float | None = None
        with instance.working("decode"):
            async with aclosing(instance.client.generate(request)) as chunks:
                async for chunk in chunks:
                    if first is None:
                        first = self._clock()
                        self._record(context, "prefill", instance.name, first - started)
                    if chunk.finish_reason:
                        self._record(context, "decode", instance.name, self._clock() - first)
                    _refuse_error(instance.name, chunk)
                    yield chunk

    # Two instances -----------------------------------------------------------------------------

    async def _split(
        self,
        context: RequestContext,
        answer: Answer,
        placement: Placement,
        references: list[Reference],
    ) -> AsyncGenerator[GenerateChunk, None]:
        """Prefill here, decode there; prefill again when a hand-over fails before a token."""
        prefill = self.instances[_chosen(placement.prefill)]
        decode = self.instances[_chosen(placement.decode)]
        for attempt in range(1, MAX_PREFILLS + 1):
            if attempt > 1:
                self._metrics.kv_retries.inc()
            handover = await self._prefill(context, answer, prefill, decode, references)
            try:
                # The decode instance needs them too: it computes the prompt again by itself when
                # it has to evict the sequence.
                await self._stage(context, decode, answer.key, references)
                if not handover.fresh(self._clock()):
                    continue
                async with aclosing(self._decode(context, answer, decode, handover)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except _HandoverFailedError:
                log.warning(
                    "request %s: hand-over %s -> %s failed, attempt %d of %d",
                    context.key, prefill.name, decode.name, attempt, MAX_PREFILLS,
                )  # fmt: skip
            finally:
                if not handover.pulled:
                    self._in_background(self._release(decode, answer.key, handover))
        raise InstanceError(decode.name, f"the hand-over failed {MAX_PREFILLS} times")

    async def _prefill(
        self,
        context: RequestContext,
        answer: Answer,
        prefill: Instance,
        decode: Instance,
        references: list[Reference],
    ) -> Handover:
        await self._stage(context, prefill, answer.key, references)
        started = self._clock()
        with prefill.working("prefill") as alone:
            call = asyncio.ensure_future(
                in_time(
                    prefill.name,
                    "prefill",
                    prefill.client.prefill(answer.key, answer.prompt),
                    self._stage_timeout_s,
                )
            )
            try:
                params, lease_s = await asyncio.shield(call)
            except asyncio.CancelledError:
                self._in_background(self._abandon(call, answer.key, prefill, decode))
                raise
            if alone():
                answer.prefix.prefill_s = self._clock() - started
        self._record(context, "prefill", prefill.name, self._clock() - started)
        self._metrics.kv_handovers.inc()
        return Handover(prefill.name, params, self._clock() + lease_s, lease_s)

    async def _decode(
        self, context: RequestContext, answer: Answer, decode: Instance, handover: Handover
    ) -> AsyncGenerator[GenerateChunk, None]:
        request = self._request(answer, handover=handover.take())
        started = self._clock()
        begun = False
        with decode.working("decode"):
            async with aclosing(decode.client.generate(request)) as chunks:
                async for chunk in chunks:
                    if not begun:
                        if chunk.finish_reason == "error":
                            raise _HandoverFailedError
                        begun = handover.pulled = True
                        self._metrics.kv_transfers.inc()
                    if chunk.finish_reason:
                        self._record(context, "decode", decode.name, self._clock() - started)
                    _refuse_error(decode.name, chunk)
                    yield chunk

    async def _release(self, decode: Instance, key: str, handover: Handover) -> None:
        try:
            if await decode.client.release(key, handover.params):
                self._metrics.kv_released.inc()
        except InstanceError as error:
            # The lease frees the blocks in the end.
            log.warning("cannot release the prefill of %s: %s", key, error)

    async def _abandon(
        self,
        call: "asyncio.Future[tuple[bytes, float]]",
        key: str,
        prefill: Instance,
        decode: Instance,
    ) -> None:
        """The client left during prefill: end it, or release it when it was done already."""
        with contextlib.suppress(InstanceError):
            await prefill.client.abort(key)
        try:
            params, lease_s = await call
        except Exception:
            return
        self._metrics.kv_handovers.inc()
        held = Handover(prefill.name, params, self._clock() + lease_s, lease_s)
        await self._release(decode, key, held)

    def _place(self, context: RequestContext, answer: Answer) -> Placement:
        """The LLM's stages. The prompt holds a place for each visual token, so it counts them."""
        shape = RequestShape(
            answer.key,
            "image" if context.pictures else "text",
            text_tokens=len(answer.prompt.token_ids),
            tenant=context.tenant,
            one_instance=answer.one_instance,
        )
        return self._placer.place(shape, answer.prompt, answer.prefix)

    # Helpers -----------------------------------------------------------------------------------

    async def _stage(
        self, context: RequestContext, instance: Instance, key: str, references: list[Reference]
    ) -> None:
        if not references:
            return
        try:
            await self._stage_once(instance, key, references)
        except LostVisualTokensError as error:
            log.warning(
                "request %s: visual tokens are lost, encoding again: %s", context.key, error
            )
            references[:] = await self._visual.again(context)
            await self._stage_once(instance, key, references)

    async def _stage_once(self, instance: Instance, key: str, references: list[Reference]) -> None:
        tokens = [reference.tokens for reference in references]
        call = instance.client.stage_visual_tokens(key, tokens)
        await in_time(instance.name, "staging", call, self._stage_timeout_s)

    def _request(self, answer: Answer, handover: bytes = b"") -> GenerateRequest:
        return GenerateRequest(
            request_key=answer.key,
            prompt=answer.prompt,
            sampling=answer.sampling,
            handover=handover,
        )

    def _record(self, context: RequestContext, stage: Any, instance: str, seconds: float) -> None:
        context.record(stage, instance, seconds * 1e3)
        self._metrics.stage_seconds.labels(stage).observe(seconds)

    def _in_background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def settle(self) -> None:
        """Wait until every release that was begun is done."""
        while self._background:
            await asyncio.wait(set(self._background))


@contextlib.contextmanager
def _as_answers(context: RequestContext) -> Iterator[None]:
    """What instances raise, as clients are told."""
    try:
        yield
    except NoInstanceError as error:
        raise OverloadedError(f"No instance serves {error.role} at the moment.") from error
    except InstanceError as error:
        log.warning("request %s: %s", context.key, error)
        raise InternalError("An instance failed while working on this request.") from error


class _HandoverFailedError(Exception):
    """The decode instance could not pull the KV blocks; nothing was sent yet."""


def _chosen(name: str | None) -> str:
    assert name is not None, "a stage was not placed"
    return name


def _refuse_error(instance: str, chunk: GenerateChunk) -> None:
    if chunk.finish_reason == "error":
        raise InstanceError(instance, "the engine ended the request with an error")
