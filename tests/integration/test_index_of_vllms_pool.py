"""The index against vLLM's own block manager: what it would hit, and what the index expects."""

from collections.abc import Iterator
from typing import Any

import msgspec
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saccade.serving.caches.block_events import decode_batch
from saccade.serving.caches.prefix_index import PrefixIndex
from saccade.serving.engine.environment import prepare_environment
from saccade.serving.transport.instance_pb2 import Prompt, VisualSpan

prepare_environment(threads=1)

from vllm.distributed.kv_events import KVEventBatch  # noqa: E402
from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange  # noqa: E402
from vllm.sampling_params import SamplingParams  # noqa: E402
from vllm.v1.core.kv_cache_manager import KVCacheManager  # noqa: E402
from vllm.v1.core.kv_cache_utils import get_request_block_hasher  # noqa: E402
from vllm.v1.kv_cache_interface import (  # noqa: E402
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
)
from vllm.v1.request import Request  # noqa: E402

from saccade.serving.engine.block_hashes import BlockHasher, _hash  # noqa: E402

BLOCK = 16
NUM_BLOCKS = 24


class Engine:
    """vLLM's bookkeeping of KV blocks, as its scheduler uses it, without a model."""

    def __init__(self) -> None:
        BlockHasher(BLOCK)  # sets the seed, as an engine does
        spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=8, dtype=torch.float32)
        config = KVCacheConfig(NUM_BLOCKS, [], [KVCacheGroupSpec(["layer"], spec)])
        self.manager = KVCacheManager(
            config,
            max_model_len=1024,
            scheduler_block_size=BLOCK,
            hash_block_size=BLOCK,
            enable_kv_cache_events=True,
        )
        self.running: list[Request] = []
        self._numbers = iter(range(1_000_000))
        self._seq = 0

    def hit(self, prompt: Prompt) -> int:
        """Tokens that would be cached."""
        _, num_cached, _ = self.manager.get_computed_blocks(self._request(prompt))
        return num_cached

    def start(self, prompt: Prompt) -> None:
        """Prefill in one step; does nothing when there is no room."""
        request = self._request(prompt)
        blocks, num_cached, _ = self.manager.get_computed_blocks(request)
        allocated = self.manager.allocate_slots(
            request, request.num_tokens - num_cached, num_cached, blocks
        )
        if allocated is not None:
            self.running.append(request)

    def finish(self, index: int) -> None:
        self.manager.free(self.running.pop(index))

    def batch(self) -> tuple[bytes, bytes] | None:
        """What the step would publish, as the publisher writes it."""
        events: Any = self.manager.take_events()
        if not events:
            return None
        self._seq += 1
        payload = msgspec.msgpack.encode(KVEventBatch(ts=float(self._seq), events=events))
        return (self._seq - 1).to_bytes(8, "big"), payload

    def _request(self, prompt: Prompt) -> Request:
        features = [
            MultiModalFeatureSpec(
                None, "image", span.key, PlaceholderRange(span.offset, span.num_tokens)
            )
            for span in prompt.visual_spans
        ]
        return Request(
            str(next(self._numbers)),
            list(prompt.token_ids),
            SamplingParams(max_tokens=1),
            None,
            mm_features=features,
            cache_salt=prompt.cache_salt or None,
            block_hasher=get_request_block_hasher(BLOCK, _hash),
        )


def prompts() -> Iterator[Prompt]:
    """Some that begin alike, of two tenants and with two pictures."""
    for salt in ("", "tenant"):
        for length in (10, 33, 64, 65, 100):
            yield Prompt(token_ids=range(length), cache_salt=salt)
        for key in ("one", "two"):
            span = VisualSpan(offset=20, num_tokens=30, key=key)
            token_ids = [*range(20), *[7] * 30, *range(50, 81)]
            yield Prompt(token_ids=token_ids, visual_spans=[span], cache_salt=salt)


PROMPTS = list(prompts())
steps = st.one_of(
    st.tuples(st.just("start"), st.integers(0, len(PROMPTS) - 1)),
    st.tuples(st.just("finish"), st.integers(0, 5)),
    st.tuples(st.just("reset"), st.just(0)),
)


@given(st.lists(steps, max_size=40))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_after_every_step_the_index_expects_what_vllm_would_hit(
    actions: list[tuple[str, int]],
) -> None:
    engine, index, hasher = Engine(), PrefixIndex(NUM_BLOCKS), BlockHasher(BLOCK)
    blocks = index.add("llm-0")
    for action, number in actions:
        if action == "start":
            engine.start(PROMPTS[number])
        elif action == "finish" and engine.running:
            engine.finish(number % len(engine.running))
        elif action == "reset" and not engine.running:
            engine.manager.block_pool.reset_prefix_cache()
        if message := engine.batch():
            assert blocks.on_batch(decode_batch(*message, BLOCK))
        for prompt in PROMPTS:
            expected: Any = index.match(hasher(prompt)).get("llm-0", 0) * BLOCK
            assert expected == engine.hit(prompt)
