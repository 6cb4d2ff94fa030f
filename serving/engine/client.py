"""vLLM's `EngineClient`, with no engine behind it: answers come from the dispatcher.

vLLM's own HTTP handlers render the prompt, call `generate` here, and build the response.
"""

import abc
import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from copy import copy
from typing import Any

from vllm.config import VllmConfig
from vllm.engine.protocol import EngineClient
from vllm.multimodal.inputs import PlaceholderRange
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.renderers import renderer_from_config
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.input_processor import InputProcessor

from saccade.serving.caches.keys import cache_salt, visual_key
from saccade.serving.engine.codec import decode_logprobs, decode_value, encode_sampling
from saccade.serving.engine.spans import Place, settled, visual_span
from saccade.serving.errors import InternalError, InvalidRequestError, NotFoundError, SaccadeError
from saccade.serving.gateway.context import PendingPicture, RequestContext, current_request
from saccade.serving.gateway.dispatch import Answer, Dispatcher
from saccade.serving.transport.instance_pb2 import GenerateChunk, Prompt


class GatewayEngineClient(EngineClient):
    """What vLLM's handlers talk to."""

    def __init__(
        self,
        vllm_config: VllmConfig,
        dispatcher: Dispatcher,
        is_healthy: Callable[[], bool],
    ) -> None:
        self.vllm_config = vllm_config
        self.model_config = vllm_config.model_config
        self.renderer = renderer_from_config(vllm_config)
        self.input_processor = InputProcessor(vllm_config, self.renderer)
        self._dispatcher = dispatcher
        self._is_healthy = is_healthy
        self._model_identity = str(self.model_config.model)

    @property
    def is_running(self) -> bool:
        return True

    @property
    def is_stopped(self) -> bool:
        return False

    @property
    def errored(self) -> bool:
        return False

    @property
    def dead_error(self) -> BaseException:
        return RuntimeError("the engine is dead")

    async def check_health(self) -> None:
        if not self._is_healthy():
            raise EngineDeadError

    async def is_tracing_enabled(self) -> bool:
        return False

    async def do_log_stats(self) -> None:
        """Instances keep their own."""

    async def get_supported_tasks(self) -> tuple[Any, ...]:
        return ("generate",)

    async def abort(self, request_id: Any) -> None:
        """Ending the generator is what aborts; vLLM's handlers do that too."""

    def shutdown(self, timeout: float | None = None) -> None:
        """The renderer's threads; instances are stopped by the cluster."""
        self.renderer.shutdown()

    def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **_: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """Check the request, then return the generator of its outputs.

        Not a coroutine, so that what vLLM refuses (a grammar that does not compile, a bad
        parameter) is refused before a streamed response has begun.

        Raises:
            VLLMValidationError: vLLM refuses prompt or parameters.
        """
        self.input_processor.process_inputs(request_id, prompt, sampling_params, ("generate",))
        context = current_request.get()
        try:
            samplings = [(choice, encode_sampling(choice)) for choice in _choices(sampling_params)]
        except OverflowError as error:
            raise InvalidRequestError("A number does not fit into 64 bits.") from error
        return self._generate(context, prompt, sampling_params, samplings, request_id)

    async def _generate(
        self,
        context: RequestContext,
        prompt: Any,
        sampling_params: SamplingParams,
        samplings: list[tuple[SamplingParams, bytes]],
        request_id: str,
    ) -> AsyncGenerator[RequestOutput, None]:
        try:
            # How many visual tokens there are may only be known when they are there.
            counts = await self._dispatcher.visual_token_counts(context)
            settled_prompt = self._prompt(context, prompt, counts)
            answers = [
                Answer(
                    key=f"{context.key}/{request_id}/{index}",
                    prompt=settled_prompt,
                    sampling=sampling,
                    one_instance=choice.prompt_logprobs is not None,
                )
                for index, (choice, sampling) in enumerate(samplings)
            ]
            outputs = _Outputs(
                request_id, prompt.get("prompt"), list(settled_prompt.token_ids), sampling_params
            )
            async with aclosing(self._merged(context, answers)) as chunks:
                async for index, chunk in chunks:
                    output = outputs.add(index, chunk)
                    if output is not None:
                        yield output
        except SaccadeError as error:
            context.error = error
            raise

    async def _merged(
        self, context: RequestContext, answers: list[Answer]
    ) -> AsyncGenerator[tuple[int, GenerateChunk], None]:
        """The chunks of all choices, as they come."""
        queue: asyncio.Queue[tuple[int, GenerateChunk] | Exception | None] = asyncio.Queue()

        async def pump(index: int, answer: Answer) -> None:
            try:
                async with aclosing(self._dispatcher.generate(context, answer)) as chunks:
                    async for chunk in chunks:
                        queue.put_nowait((index, chunk))
                queue.put_nowait(None)
            except BaseException as error:  # carried to the reader below, who waits for it
                cancelled = InternalError("The answer was cancelled.")
                queue.put_nowait(error if isinstance(error, Exception) else cancelled)
                if not isinstance(error, Exception):
                    raise

        pumps = [asyncio.create_task(pump(*item)) for item in enumerate(answers)]
        try:
            running = len(pumps)
            while running:
                item = await queue.get()
                if item is None:
                    running -= 1
                elif isinstance(item, Exception):
                    raise item
                else:
                    yield item
        finally:
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def _prompt(
        self, context: RequestContext, prompt: Any, counts: Sequence[Sequence[int]]
    ) -> Prompt:
        ranges = {kind: iter(found) for kind, found in prompt.get("mm_placeholders", {}).items()}
        reserved = [next(ranges[pending.picture.kind]) for pending in context.pictures]
        token_ids, places = settled(
            prompt["prompt_token_ids"], [places_in(one) for one in reserved], counts
        )
        spans = [
            visual_span(found, self._key(context, pending, sum(kept)))
            for pending, found, kept in zip(context.pictures, places, counts, strict=True)
        ]
        return Prompt(
            token_ids=token_ids,
            visual_spans=spans,
            cache_salt=cache_salt(context.tenant),
        )

    def _key(self, context: RequestContext, pending: PendingPicture, num_tokens: int) -> str:
        return visual_key(
            tenant=context.tenant,
            model=self._model_identity,
            content_hash=pending.picture.content_hash,
            num_visual_tokens=num_tokens,
            pruning=pending.pruning_key,
        )


def places_in(reserved: PlaceholderRange) -> list[Place]:
    """Where vLLM's renderer has put visual tokens: in one place, or in one for each step of a clip
    that has its time in words before it."""
    return [(first, last + 1 - first) for first, last in reserved.extract_embeds_range()]


def _choices(sampling: SamplingParams) -> list[SamplingParams]:
    """One single-answer copy per choice, seeded as vLLM seeds them."""
    choices = []
    for index in range(sampling.n):
        choice = copy(sampling)
        choice.n = 1
        if sampling.seed is not None:
            choice.seed = sampling.seed + index
        choices.append(choice)
    return choices


class _Outputs:
    """Turns chunks into vLLM's outputs: deltas, or one final output of all choices."""

    def __init__(
        self, request_id: str, text: str | None, token_ids: list[int], sampling: SamplingParams
    ) -> None:
        self._request_id = request_id
        self._text = text
        self._token_ids = token_ids
        self._deltas = sampling.output_kind == RequestOutputKind.DELTA
        self._choices = [_empty_choice(index) for index in range(sampling.n)]
        self._unfinished = sampling.n
        self._prompt_logprobs: Any = None
        self._num_cached_tokens: int | None = None

    def add(self, index: int, chunk: GenerateChunk) -> RequestOutput | None:
        delta = _completion(index, chunk)
        if chunk.HasField("prompt_logprobs"):
            self._prompt_logprobs = decode_logprobs(chunk.prompt_logprobs)
        if self._num_cached_tokens is None and chunk.HasField("num_cached_tokens"):
            self._num_cached_tokens = chunk.num_cached_tokens
        if delta.finish_reason is not None:
            self._unfinished -= 1
        if self._deltas:
            return self._output([delta])
        _append(self._choices[index], delta)
        return None if self._unfinished else self._output(self._choices)

    def _output(self, completions: list[CompletionOutput]) -> RequestOutput:
        return RequestOutput(
            request_id=self._request_id,
            prompt=self._text,
            prompt_token_ids=self._token_ids,
            prompt_logprobs=self._prompt_logprobs,
            outputs=completions,
            finished=self._unfinished == 0,
            num_cached_tokens=self._num_cached_tokens,
        )


def _empty_choice(index: int) -> CompletionOutput:
    return CompletionOutput(
        index=index, text="", token_ids=[], cumulative_logprob=None, logprobs=None
    )


def _completion(index: int, chunk: GenerateChunk) -> CompletionOutput:
    return CompletionOutput(
        index=index,
        text=chunk.text,
        token_ids=list(chunk.token_ids),
        cumulative_logprob=chunk.cumulative_logprob
        if chunk.HasField("cumulative_logprob")
        else None,
        logprobs=decode_logprobs(chunk.logprobs) if chunk.HasField("logprobs") else None,  # type: ignore[arg-type]
        finish_reason=chunk.finish_reason or None,
        stop_reason=decode_value(chunk.stop_reason) if chunk.HasField("stop_reason") else None,
    )


def _append(whole: CompletionOutput, delta: CompletionOutput) -> None:
    whole.text += delta.text
    list.extend(whole.token_ids, delta.token_ids)  # type: ignore[arg-type]  # ours: a list
    if delta.logprobs is not None:
        whole.logprobs = [*(whole.logprobs or []), *delta.logprobs]
    whole.cumulative_logprob = delta.cumulative_logprob
    whole.finish_reason = delta.finish_reason
    whole.stop_reason = delta.stop_reason


def _refuse_the_rest(client: Any) -> None:
    """Sleep, LoRA, profiling and so on: no route that we serve leads to them."""
    for name in client.__abstractmethods__:

        async def refuse(*_: Any, _name: str = name, **__: Any) -> Any:
            raise NotFoundError(f"{_name} is not served")

        setattr(client, name, refuse)
    abc.update_abstractmethods(client)


_refuse_the_rest(GatewayEngineClient)
