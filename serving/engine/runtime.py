"""One vLLM engine inside an instance: prefill, generate, release."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from vllm.exceptions import GracefulHTTPError, VLLMClientError
from vllm.inputs import EngineInput
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from saccade.encoders.base import VisualTokens
from saccade.encoders.registry import ENCODERS
from saccade.serving.caches.block_events import KvEventSource
from saccade.serving.config.settings import Settings
from saccade.serving.engine.args import instance_engine_args
from saccade.serving.engine.block_hashes import hash_seed
from saccade.serving.engine.codec import (
    decode_sampling,
    decode_value,
    encode_logprobs,
    encode_value,
)
from saccade.serving.engine.handed import BadHandOverError, Receiver, engine_input
from saccade.serving.transport.instance_pb2 import GenerateChunk, GenerateRequest, Prompt

# Hand-overs whose use is remembered, so that none is pulled or released twice.
MAX_REMEMBERED_HANDOVERS = 65536


class EngineFailedError(Exception):
    """The engine could not serve the request; another instance may."""


class RejectedError(Exception):
    """The engine refuses the request as it is."""


class LLMRuntime:
    """Owns the engine. Loading blocks for many seconds: call `load` in a thread."""

    def __init__(self, settings: Settings, engine: AsyncLLM) -> None:
        self._engine = engine
        self._lease_s = settings.engine.kv_lease_s
        family = ENCODERS.family(settings.model.path)
        self._receiver = Receiver.of(family, engine.model_config)
        self._used_handovers: OrderedDict[tuple[str, str], None] = OrderedDict()

    @classmethod
    def load(cls, settings: Settings) -> "LLMRuntime":
        config = instance_engine_args(settings).create_engine_config(UsageContext.API_SERVER)
        return cls(settings, AsyncLLM.from_vllm_config(config))

    async def prefill(
        self, request_key: str, prompt: Prompt, visual_tokens: Sequence[VisualTokens] = ()
    ) -> tuple[bytes, float]:
        """Fill the KV cache and hold it.

        Not a copy of the request: one token is sampled and thrown away, so nothing that shapes or
        reports the sampling (n, minimum length, grammar, penalties, log-probabilities) applies.

        Returns:
            The hand-over for the instance that decodes, and its lease in seconds.
        """
        sampling = SamplingParams(
            n=1,
            max_tokens=1,
            min_tokens=0,
            temperature=0.0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            extra_args={"kv_transfer_params": {"do_remote_decode": True}},
        )
        final: RequestOutput | None = None
        engine_input = self._engine_input(prompt, visual_tokens)
        async for output in self._run(request_key, engine_input, sampling):
            final = output
        if final is None or not final.kv_transfer_params:
            raise EngineFailedError("the prefill ended without a hand-over")
        return encode_value(final.kv_transfer_params), float(self._lease_s)

    async def generate(
        self, request: GenerateRequest, visual_tokens: Sequence[VisualTokens]
    ) -> AsyncGenerator[GenerateChunk, None]:
        """Generate, from a hand-over when there is one.

        Raises:
            EngineFailedError: also for a hand-over that was used before.
            RejectedError: vLLM refuses prompt or parameters.
        """
        sampling = _streaming(request.sampling)
        engine_input = self._engine_input(request.prompt, visual_tokens)
        if request.handover:
            params = decode_value(request.handover)
            if not self._use(params):
                raise EngineFailedError("this hand-over was pulled or released before")
            sampling.extra_args = {"kv_transfer_params": params}
        try:
            runs = self._run(request.request_key, engine_input, sampling)
            async with aclosing(runs) as outputs:
                async for output in outputs:
                    yield _chunk(output)
        except RejectedError:
            # It never reached the engine, so nothing has pulled.
            if request.handover:
                await self._engine.notify_kv_transfer_request_rejected(request.request_key, params)
            raise

    async def abort(self, request_key: str) -> None:
        """End a request; does nothing when it is done."""
        await self._engine.abort(request_key)

    async def release(self, request_key: str, handover: bytes) -> bool:
        """Let the prefilling instance free the blocks; False when they were pulled already."""
        params = decode_value(handover)
        if not self._use(params):
            return False
        await self._engine.notify_kv_transfer_request_rejected(request_key, params)
        return True

    async def check(self) -> None:
        """Raises EngineFailedError when the engine is dead."""
        try:
            await self._engine.check_health()
        except EngineDeadError as error:
            raise EngineFailedError("the engine process is dead") from error

    @property
    def num_unfinished(self) -> int:
        """Requests that the engine has not ended."""
        return int(self._engine.output_processor.get_num_unfinished_requests())

    @property
    def kv_events(self) -> KvEventSource | None:
        """Where the engine publishes its KV events, if it does."""
        for config in self._engine.get_kv_event_sources().values():
            assert config.replay_endpoint is not None, "`instance_engine_args` asks for one"
            block_size = self._engine.vllm_config.cache_config.block_size
            return KvEventSource(config.endpoint, config.replay_endpoint, block_size, hash_seed())
        return None

    def shutdown(self, timeout_s: float) -> None:
        self._engine.shutdown(timeout=timeout_s)

    async def _run(
        self, request_key: str, engine_input: EngineInput, sampling: SamplingParams
    ) -> AsyncGenerator[RequestOutput, None]:
        try:
            async with aclosing(
                self._engine.generate(engine_input, sampling, request_key)
            ) as outputs:
                async for output in outputs:
                    yield output
        except (VLLMClientError, GracefulHTTPError) as error:
            raise RejectedError(str(error)) from error
        except (EngineDeadError, EngineGenerateError, ValueError) as error:
            raise EngineFailedError(str(error) or type(error).__name__) from error

    def _engine_input(self, prompt: Prompt, visual_tokens: Sequence[VisualTokens]) -> EngineInput:
        try:
            return engine_input(prompt, visual_tokens, self._receiver)
        except BadHandOverError as error:
            raise EngineFailedError(str(error)) from error

    def _use(self, params: dict[str, Any]) -> bool:
        """Note that a hand-over is used; False when it was before."""
        identity = (str(params["remote_engine_id"]), str(params["remote_request_id"]))
        if identity in self._used_handovers:
            return False
        self._used_handovers[identity] = None
        if len(self._used_handovers) > MAX_REMEMBERED_HANDOVERS:
            self._used_handovers.popitem(last=False)
        return True


def _streaming(encoded: bytes) -> SamplingParams:
    """The parameters as this engine takes them: deltas, and nothing of the client's beside."""
    try:
        sampling = decode_sampling(encoded)
    except (VLLMClientError, ValueError) as error:
        raise RejectedError(str(error)) from error
    sampling.output_kind = RequestOutputKind.DELTA
    sampling.extra_args = None
    return sampling


def _chunk(output: RequestOutput) -> GenerateChunk:
    completion = output.outputs[0]
    chunk = GenerateChunk(
        token_ids=completion.token_ids,
        text=completion.text,
        finish_reason=completion.finish_reason or "",
    )
    if completion.stop_reason is not None:
        chunk.stop_reason = encode_value(completion.stop_reason)
    if completion.logprobs is not None:
        chunk.logprobs = encode_logprobs(completion.logprobs)
    if completion.cumulative_logprob is not None:
        chunk.cumulative_logprob = completion.cumulative_logprob
    # With deltas, vLLM sends them once and an empty list from then on.
    if output.prompt_logprobs:
        chunk.prompt_logprobs = encode_logprobs(output.prompt_logprobs)
    if output.num_cached_tokens is not None:
        chunk.num_cached_tokens = output.num_cached_tokens
    return chunk
