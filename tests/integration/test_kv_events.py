"""The index of prefix caches beside vLLM: its hashes, its publisher, its engine."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saccade.serving.caches.block_events import KvEventSource, short_hash
from saccade.serving.caches.prefix_index import InstanceBlocks, PrefixIndex
from saccade.serving.gateway.kv_events import KvEventFollower
from saccade.serving.transport.instance_pb2 import Prompt, VisualSpan
from tests.integration.engine_pair import answer, text, with_pictures

from vllm.distributed.kv_events import (  # isort: skip  # after the environment is prepared
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    KVEventBatch,
    ZmqEventPublisher,
)
from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
from vllm.sampling_params import SamplingParams
from vllm.v1.core.kv_cache_utils import get_request_block_hasher
from vllm.v1.request import Request

from saccade.serving.engine.block_hashes import BlockHasher, _hash
from saccade.serving.engine.runtime import LLMRuntime

BLOCK = 32
TIMEOUT_S = 60.0


async def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not check():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def following(
    source: KvEventSource, blocks: InstanceBlocks, reconcile_s: float = 0.05
) -> AsyncIterator[None]:
    task = asyncio.create_task(KvEventFollower("llm-0", source, blocks, reconcile_s).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# Hashes ----------------------------------------------------------------------------------------


@st.composite
def prompts(draw: st.DrawFn) -> Prompt:
    """With pictures that begin and end anywhere in a block, some of them twice in one."""
    token_ids = [5] * draw(st.integers(0, 40))
    spans = []
    for _ in range(draw(st.integers(0, 4))):
        num_tokens = draw(st.integers(1, 70))
        key = draw(st.sampled_from(["one", "two"]))
        spans.append(VisualSpan(offset=len(token_ids), num_tokens=num_tokens, key=key))
        token_ids += [2] * num_tokens + [7] * draw(st.integers(0, 9))
    return Prompt(
        token_ids=[*token_ids, 9],
        visual_spans=draw(st.permutations(spans)),
        cache_salt=draw(st.sampled_from(["", "tenant"])),
    )


def as_vllm_hashes(prompt: Prompt) -> list[int]:
    """By the engine's own way: its request, with its hasher."""
    spans = sorted(prompt.visual_spans, key=lambda span: span.offset)
    hasher = BlockHasher(BLOCK)  # also sets vLLM's seed
    request = Request(
        "a",
        list(prompt.token_ids),
        SamplingParams(max_tokens=1),
        None,
        mm_features=[
            MultiModalFeatureSpec(
                None, "image", span.key, PlaceholderRange(span.offset, span.num_tokens)
            )
            for span in spans
        ],
        cache_salt=prompt.cache_salt or None,
        block_hasher=get_request_block_hasher(hasher.block_size, _hash),
    )
    return [short_hash(block_hash) for block_hash in request.block_hashes]


@given(prompts())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_blocks_are_named_as_the_engine_names_them(prompt: Prompt) -> None:
    ours = list(BlockHasher(BLOCK)(prompt))
    assert ours == as_vllm_hashes(prompt)[: (len(prompt.token_ids) - 1) // BLOCK]


def test_tenants_pictures_and_token_counts_have_names_of_their_own() -> None:
    def names(salt: str, key: str) -> list[int]:
        span = VisualSpan(offset=40, num_tokens=50, key=key)
        prompt = Prompt(token_ids=[2] * 130, visual_spans=[span], cache_salt=salt)
        return list(BlockHasher(BLOCK)(prompt))

    base, other_salt = names("a", "picture"), names("b", "picture")
    other_picture = names("a", "another")
    assert not set(base) & set(other_salt)
    # The first block is text alone, so it is shared; from the picture on nothing is.
    assert base[0] == other_picture[0]
    assert not set(base[1:]) & set(other_picture[1:])


# The publisher ---------------------------------------------------------------------------------


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[ZmqEventPublisher]:
    """vLLM's own, which keeps twenty batches."""
    monkeypatch.setenv("VLLM_HOST_IP", "127.0.0.1")
    publisher = ZmqEventPublisher(0, "tcp://*:0", "tcp://*:0", buffer_steps=20)
    yield publisher
    publisher.shutdown()


def source_of(publisher: ZmqEventPublisher) -> KvEventSource:
    config = publisher.get_publisher_config()
    assert config.replay_endpoint is not None
    return KvEventSource(config.endpoint, config.replay_endpoint, BLOCK, "seed")


def stored(*numbers: int) -> KVEventBatch:
    event = BlockStored(
        block_hashes=[number.to_bytes(32, "big") for number in numbers],
        parent_block_hash=None,
        token_ids=[1] * BLOCK * len(numbers),
        block_size=BLOCK,
        lora_id=None,
        medium="GPU",
        lora_name=None,
        extra_keys=[("salt", ("picture", 3)), None],
        group_idx=0,
    )
    return KVEventBatch(ts=time.monotonic(), events=[event])


def removed(number: int) -> KVEventBatch:
    event = BlockRemoved(block_hashes=[number.to_bytes(32, "big")], medium="GPU", group_idx=0)
    return KVEventBatch(ts=time.monotonic(), events=[event])


def held(blocks: InstanceBlocks) -> set[int]:
    return {number for number in range(100) if number in blocks}


async def test_what_was_published_before_and_after_is_known(publisher: ZmqEventPublisher) -> None:
    publisher.publish(stored(1, 2))
    publisher.publish(removed(1))
    blocks = PrefixIndex(100).add("llm-0")
    async with following(source_of(publisher), blocks):
        await until(lambda: held(blocks) == {2})
        publisher.publish(stored(3))
        await until(lambda: held(blocks) == {2, 3})
        publisher.publish(KVEventBatch(ts=0.0, events=[AllBlocksCleared()]))
        await until(lambda: held(blocks) == set())
    assert (blocks.num_rebuilds, blocks.num_batches) == (0, 4)


async def test_who_comes_too_late_for_the_replay_knows_less_but_nothing_wrong(
    publisher: ZmqEventPublisher,
) -> None:
    publisher.publish(stored(1))
    for number in range(30, 60):
        publisher.publish(stored(number))
    publisher.publish(removed(1))
    blocks = PrefixIndex(100).add("llm-0")
    async with following(source_of(publisher), blocks):
        await until(lambda: 59 in blocks and 1 not in blocks)
        assert held(blocks) <= set(range(30, 60))


async def test_silence_is_not_taken_for_nothing_new(publisher: ZmqEventPublisher) -> None:
    """A subscriber at an address where nobody publishes: all is lost, and found by asking."""
    source = source_of(publisher)
    deaf = KvEventSource("tcp://127.0.0.1:9", source.replay_endpoint, BLOCK, "seed")
    blocks = PrefixIndex(100).add("llm-0")
    async with following(deaf, blocks):
        publisher.publish(stored(1))
        await until(lambda: held(blocks) == {1})
        publisher.publish(stored(2))
        publisher.publish(removed(1))
        await until(lambda: held(blocks) == {2})


async def test_nothing_is_known_any_more_when_following_ends(publisher: ZmqEventPublisher) -> None:
    publisher.publish(stored(1))
    index = PrefixIndex(100)
    async with following(source_of(publisher), index.add("llm-0")):
        await until(lambda: index.num_blocks == 1)
    assert index.num_blocks == 0


# The engine ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[LLMRuntime]:
    from tests.integration.engine_pair import load_one

    runtime = load_one(checkpoint)
    yield runtime
    runtime.shutdown(5)


async def num_cached(runtime: LLMRuntime, key: str, prompt: Prompt, visual: Any = ()) -> int:
    """Prompt tokens that the engine had."""
    from saccade.serving.engine.codec import encode_sampling
    from saccade.serving.transport.instance_pb2 import GenerateRequest

    sampling = encode_sampling(SamplingParams(temperature=0, max_tokens=1))
    request = GenerateRequest(request_key=key, prompt=prompt, sampling=sampling)
    found = [
        chunk.num_cached_tokens
        async for chunk in runtime.generate(request, visual)
        if chunk.HasField("num_cached_tokens")
    ]
    return found[0]


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_what_the_index_expects_is_what_the_engine_has(engine: LLMRuntime) -> None:
    source = engine.kv_events
    assert source is not None
    index = PrefixIndex(10_000)
    hasher = BlockHasher(source.block_size)
    picture, visual = with_pictures([70, 40], seed=3)
    longer = Prompt(
        token_ids=[*picture.token_ids, *range(60, 160)], visual_spans=picture.visual_spans
    )
    other, other_visual = with_pictures([70, 40], seed=4)
    cases = [
        (text(*range(10, 110), salt="one"), ()),
        (text(*range(10, 110), salt="one"), ()),
        (text(*range(10, 110), salt="two"), ()),
        (picture, visual),
        (longer, visual),
        (other, other_visual),
    ]
    agreed = []
    async with following(source, index.add("llm-0")):
        for number, (prompt, tokens) in enumerate(cases):
            before = index.blocks()["llm-0"].num_batches
            expected = index.match(hasher(prompt)).get("llm-0", 0) * source.block_size
            cached = await num_cached(engine, f"case-{number}", prompt, tokens)
            agreed.append((expected, cached))
            blocks = (len(prompt.token_ids) - 1) // source.block_size
            if cached < blocks * source.block_size:
                await until(lambda seen=before: index.blocks()["llm-0"].num_batches > seen)  # type: ignore[misc]
    assert all(expected == cached for expected, cached in agreed), agreed
    # The second hits, the other tenant does not; the longer prompt hits as far as the shorter goes.
    assert [cached > 0 for _, cached in agreed] == [False, True, False, False, True, False]


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_blocks_that_make_room_leave_the_index(engine: LLMRuntime) -> None:
    """More prompts than the KV cache holds, one after the other."""
    source = engine.kv_events
    assert source is not None
    index = PrefixIndex(100_000)
    hasher = BlockHasher(source.block_size)
    prompts = [text(*([100 + number] * 1500)) for number in range(60)]
    async with following(source, index.add("llm-0")):
        for number, prompt in enumerate(prompts):
            await answer(engine, f"fill-{number}", prompt, max_tokens=1)
        await until(lambda: index.match(hasher(prompts[-1])) != {})
        expected = [index.match(hasher(prompt)).get("llm-0", 0) for prompt in prompts]
        assert expected[0] == 0 < expected[-1]
        oldest = next(number for number, blocks in enumerate(expected) if blocks)
        cached = await num_cached(engine, "oldest", prompts[oldest])
        assert cached == expected[oldest] * source.block_size
