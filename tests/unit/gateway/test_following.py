"""Which engines the gateway follows."""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from saccade.serving.caches.block_events import Batch, KvEventSource, Stored
from saccade.serving.config.prefix_index import PrefixIndexConfig
from saccade.serving.gateway.prefix_metrics import PrefixMetrics
from saccade.serving.gateway.prefixes import PrefixCaches
from saccade.serving.transport.instance_pb2 import Prompt

# Nobody publishes there: what is known is what the test says.
SOURCE = KvEventSource("tcp://127.0.0.1:9", "tcp://127.0.0.1:9", 32, "seed")
PROMPT = Prompt(token_ids=range(33))


@pytest.fixture
async def prefixes() -> AsyncIterator[PrefixCaches]:
    prefixes = PrefixCaches(PrefixIndexConfig(), PrefixMetrics(CollectorRegistry()))
    prefixes.hash_with(lambda _: iter([1]), 32, "seed")
    yield prefixes
    await prefixes.close()


def hold(prefixes: PrefixCaches, name: str) -> None:
    prefixes.index.blocks()[name].on_batch(Batch(0, 1, (Stored((1,)),)))


async def test_an_engine_is_followed_as_long_as_its_instance_answers(
    prefixes: PrefixCaches,
) -> None:
    prefixes.follow("llm-0", SOURCE)
    hold(prefixes, "llm-0")
    # At every check again.
    prefixes.follow("llm-0", SOURCE)
    assert prefixes.held_tokens(PROMPT) == {"llm-0": 32}
    prefixes.follow("llm-0", None)
    assert prefixes.held_tokens(PROMPT) == {}
    assert prefixes.index.blocks() == {}


async def test_an_engine_that_has_started_again_holds_nothing(prefixes: PrefixCaches) -> None:
    prefixes.follow("llm-0", SOURCE)
    hold(prefixes, "llm-0")
    prefixes.follow("llm-0", replace(SOURCE, endpoint="tcp://127.0.0.1:10"))
    assert prefixes.held_tokens(PROMPT) == {}
    assert list(prefixes.index.blocks()) == ["llm-0"]


@pytest.mark.parametrize("other", [{"hash_seed": "another"}, {"block_size": 16}])
async def test_blocks_with_other_names_are_left_out_and_the_remedy_is_said_once(
    prefixes: PrefixCaches, other: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            prefixes.follow("llm-0", replace(SOURCE, **other))  # type: ignore[arg-type]
    assert prefixes.index.blocks() == {}
    assert len(caplog.messages) == 1
    assert "PYTHONHASHSEED" in caplog.messages[0]


async def test_nobody_is_followed_before_prompts_can_be_hashed() -> None:
    prefixes = PrefixCaches(PrefixIndexConfig(), PrefixMetrics(CollectorRegistry()))
    prefixes.follow("llm-0", SOURCE)
    assert prefixes.index.blocks() == {}
    prefixes.hash_with(lambda _: iter([1]), 32, "seed")
    prefixes.follow("llm-0", SOURCE)
    assert list(prefixes.index.blocks()) == ["llm-0"]
    await prefixes.close()
