"""Prefills the text before the first picture while the pictures are encoded.

An engine takes a request whole, with all its pictures. But what it has computed stays in its prefix
cache, so the text can go ahead as a request of its own; the real one finds its blocks there, since
placement prefers who holds them.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from saccade.scheduler.placement import NoInstanceError
from saccade.scheduler.requests import RequestShape
from saccade.serving.errors import SaccadeError
from saccade.serving.gateway.context import RequestContext
from saccade.serving.gateway.instances import InstanceError, Instances, in_time
from saccade.serving.gateway.placing import Placer
from saccade.serving.gateway.prefixes import PrefixEstimate
from saccade.serving.transport.instance_pb2 import GenerateChunk, GenerateRequest, Prompt

log = logging.getLogger(__name__)

# Visual tokens that a cache has are there by then, and nothing has to be bridged.
PATIENCE_S = 0.01


class TextAhead:
    """One request for each request with pictures whose text is worth it."""

    def __init__(
        self, instances: Instances, placer: Placer, *, min_tokens: int, timeout_s: float
    ) -> None:
        self._instances = instances
        self._placer = placer
        self._prefixes = placer.prefixes
        self._min_tokens = min_tokens
        self._timeout_s = timeout_s
        self._one_token: bytes | None = None

    def sample_with(self, one_token: bytes) -> None:
        """vLLM's SamplingParams of an answer of one token, as msgpack; before that, none is
        sent."""
        self._one_token = one_token

    async def run(self, context: RequestContext, key: str, prompt: Prompt) -> None:
        """Send the text ahead, if it is worth it and the pictures are not there yet.

        Whatever goes wrong, the real request will see it too, and says so.
        """
        text = self._text(prompt)
        if self._one_token is None or context.ahead or text is None:
            return
        context.ahead = True
        await asyncio.sleep(PATIENCE_S)
        if context.encoded is None or context.encoded.done():
            return
        shape = RequestShape(key, "image", text_tokens=len(text.token_ids), tenant=context.tenant)
        request = GenerateRequest(request_key=key, prompt=text, sampling=self._one_token)
        try:
            name = self._placer.place(shape, text, PrefixEstimate()).prefill
            instance = self._instances[name or ""]
            with instance.working("prefill"):
                call = _drained(instance.client.generate(request))
                await in_time(instance.name, "text ahead", call, self._timeout_s)
        except (InstanceError, NoInstanceError, SaccadeError) as error:
            log.debug("request %s: its text did not go ahead: %s", context.key, error)
            return
        self._prefixes.count_ahead(len(text.token_ids))

    def _text(self, prompt: Prompt) -> Prompt | None:
        """In whole blocks, if enough of it is cached nowhere."""
        block_size = self._prefixes.block_size
        if not self._min_tokens or block_size is None or not prompt.visual_spans:
            return None
        first = min(span.offset for span in prompt.visual_spans)
        num_tokens = first // block_size * block_size
        if num_tokens < self._min_tokens:
            return None
        # One token more, since a block that ends with the last is never looked for.
        asked = Prompt(token_ids=prompt.token_ids[: num_tokens + 1], cache_salt=prompt.cache_salt)
        held_tokens = self._prefixes.held_tokens(asked)
        if num_tokens - max(held_tokens.values(), default=0) < self._min_tokens:
            return None
        return Prompt(token_ids=prompt.token_ids[:num_tokens], cache_salt=prompt.cache_salt)


async def _drained(chunks: AsyncGenerator[GenerateChunk, None]) -> None:
    async with aclosing(chunks):
        async for _ in chunks:
            pass
