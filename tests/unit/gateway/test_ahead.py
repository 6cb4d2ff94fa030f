"""Text that goes ahead of its pictures."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from saccade.serving.caches.block_events import Batch, Stored
from saccade.serving.gateway.context import Reference, RequestContext
from saccade.serving.transport.instance_pb2 import Prompt, VisualSpan
from tests.unit.gateway.fakes import AHEAD_TOKENS, Cluster, a_request
from tests.unit.loop_clock import LoopClock

BLOCK = 32
FIRST = 3 * BLOCK + 5
"""Where the picture begins."""


def numbers(prompt: Prompt) -> Iterator[int]:
    yield from range(1, (len(prompt.token_ids) - 1) // BLOCK + 1)


def a_prompt(first: int = FIRST) -> Prompt:
    span = VisualSpan(offset=first, num_tokens=64, key="picture")
    return Prompt(token_ids=range(first + 70), visual_spans=[span], cache_salt="salt")


def a_cluster() -> Cluster:
    cluster = Cluster()
    cluster.prefixes.hash_with(numbers, BLOCK, "seed")
    cluster.ahead.sample_with(b"one token")
    return cluster


@asynccontextmanager
async def encoding(cluster: Cluster, prompt: Prompt) -> AsyncIterator[RequestContext]:
    """A request whose picture is being encoded, and whose text was offered to go ahead."""
    context = a_request(1)
    context.encoded = asyncio.create_task(_for_ever())
    clock = LoopClock()
    ahead = asyncio.create_task(cluster.ahead.run(context, "request/ahead", prompt))
    await clock.advance(0)
    await clock.advance(1)
    await asyncio.wait_for(ahead, 1)
    yield context
    context.encoded.cancel()


async def _for_ever() -> list[Reference]:
    await asyncio.Event().wait()
    return []


async def test_text_in_whole_blocks_is_prefilled_where_the_request_would_go() -> None:
    cluster = a_cluster()
    async with encoding(cluster, a_prompt()) as context:
        assert context.ahead
    assert cluster.world.count("generate", "prefill-0") == 1
    assert cluster.metric("prefix_ahead_tokens_total") == 3 * BLOCK
    assert cluster.load == 0


@pytest.mark.parametrize("first", [0, AHEAD_TOKENS - 1])
async def test_short_text_waits_for_its_picture(first: int) -> None:
    cluster = a_cluster()
    async with encoding(cluster, a_prompt(first)):
        assert cluster.world.calls == []


async def test_text_that_is_cached_somewhere_is_not_computed_again() -> None:
    cluster = a_cluster()
    cluster.prefixes.index.add("prefill-0").on_batch(Batch(0, 1, (Stored((1, 2, 3)),)))
    async with encoding(cluster, a_prompt()):
        assert cluster.world.calls == []


async def test_nothing_goes_ahead_of_pictures_that_are_there_at_once() -> None:
    cluster = a_cluster()
    context = a_request(1)
    context.encoded = asyncio.create_task(asyncio.sleep(0, []))
    clock = LoopClock()
    ahead = asyncio.create_task(cluster.ahead.run(context, "a", a_prompt()))
    await clock.advance(0)
    await clock.advance(1)
    await asyncio.wait_for(ahead, 1)
    assert cluster.world.calls == []


async def test_of_several_answers_one_sends_the_text() -> None:
    cluster = a_cluster()
    async with encoding(cluster, a_prompt()) as context:
        await cluster.ahead.run(context, "another", a_prompt())
    assert cluster.world.count("generate") == 1


async def test_what_goes_wrong_ahead_is_left_to_the_request_itself() -> None:
    cluster = a_cluster()
    cluster.world.script.pulls = ["refused"]
    async with encoding(cluster, a_prompt()):
        assert cluster.metric("prefix_ahead_tokens_total") == 0
    assert cluster.load == 0


async def test_without_an_instance_nothing_goes_ahead() -> None:
    cluster = a_cluster()
    cluster.instances["prefill-0"].alive = False
    async with encoding(cluster, a_prompt()):
        assert cluster.world.calls == []
