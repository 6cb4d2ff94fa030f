"""What an instance's engine does with hand-overs and visual tokens, on two real vLLM engines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from tests.integration.engine_pair import Pair

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

# Of one core, while nothing is asked. With NIXL's progress thread it is 1.
MAX_IDLE_CPU_SHARE = 0.25


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(checkpoint: Path) -> "AsyncIterator[Pair]":
    from tests.integration.engine_pair import load_pair

    pair = load_pair(checkpoint)
    yield pair
    pair.shutdown()


async def test_a_handed_over_prompt_gives_the_tokens_of_one_engine(pair: "Pair") -> None:
    from tests.integration.engine_pair import answer, text

    handover, _ = await pair.first.prefill("split", text())
    split = await answer(pair.second, "split", text(), handover=handover)
    assert split == await answer(pair.first, "alone", text())
    assert split[1] == "length"


async def test_pictures_of_different_token_counts_answer_together_as_they_do_alone(
    pair: "Pair",
) -> None:
    from tests.integration.engine_pair import answer, with_pictures

    requests = [with_pictures([count], seed=count) for count in (64, 40, 33, 20)]
    alone = [await answer(pair.first, f"alone-{i}", *request) for i, request in enumerate(requests)]
    together = await asyncio.gather(
        *(answer(pair.second, f"at-once-{i}", *request) for i, request in enumerate(requests))
    )
    assert list(together) == alone
    assert len({tuple(tokens) for tokens, _ in alone}) == len(alone), "the pictures must matter"


async def test_pictures_of_different_token_counts_in_one_request(pair: "Pair") -> None:
    from tests.integration.engine_pair import answer, with_pictures

    prompt, visual_tokens = with_pictures([64, 40, 33, 20], seed=7)
    alone = await answer(pair.first, "one-request", prompt, visual_tokens)
    handover, _ = await pair.first.prefill("one-request-split", prompt, visual_tokens)
    split = await answer(pair.second, "split", prompt, visual_tokens, handover=handover)
    assert split == alone


async def test_different_pictures_never_share_a_prefix_on_the_decoding_side(pair: "Pair") -> None:
    from tests.integration.engine_pair import answer, with_pictures

    for seed in (100, 101, 100):
        prompt, visual_tokens = with_pictures([64], seed)
        whole = await answer(pair.first, f"whole-{seed}", prompt, visual_tokens)
        handover, _ = await pair.first.prefill(f"p-{seed}", prompt, visual_tokens)
        split = await answer(pair.second, f"d-{seed}", prompt, visual_tokens, handover=handover)
        assert split == whole


async def test_a_pull_after_the_lease_is_an_error_and_never_wrong_tokens(pair: "Pair") -> None:
    from tests.integration.engine_pair import answer, text, until_expired

    prompt = text(*range(100, 300), salt="late")
    handover, lease_s = await pair.first.prefill("late", prompt)
    assert lease_s == 3
    await until_expired(handover)
    # Other work takes the blocks that were let go.
    for index in range(3):
        await answer(pair.first, f"filler-{index}", text(*range(400 + index, 700 + index)))
    tokens, reason = await answer(pair.second, "late", prompt, handover=handover)
    assert (tokens, reason) == ([], "error")


async def test_the_second_pull_of_a_handover_is_refused(pair: "Pair") -> None:
    from saccade.serving.engine.runtime import EngineFailedError
    from tests.integration.engine_pair import answer, text

    handover, _ = await pair.first.prefill("twice", text())
    await answer(pair.second, "first-pull", text(), handover=handover)
    with pytest.raises(EngineFailedError):
        await answer(pair.second, "second-pull", text(), handover=handover)


async def test_a_released_handover_frees_the_blocks_and_cannot_be_pulled(pair: "Pair") -> None:
    from saccade.serving.engine.runtime import EngineFailedError
    from tests.integration.engine_pair import answer, text

    handover, _ = await pair.first.prefill("given-up", text())
    assert await pair.second.release("given-up", handover)
    assert not await pair.second.release("given-up", handover)
    with pytest.raises(EngineFailedError):
        await answer(pair.second, "too-late", text(), handover=handover)


async def test_what_shapes_the_answer_works_over_a_hand_over(pair: "Pair") -> None:
    """The prefill leg has parameters of its own; these reach the decoding engine alone."""
    from tests.integration.engine_pair import answer, text

    sampling: dict[str, Any] = {
        "min_tokens": 5,
        "max_tokens": 6,
        "repetition_penalty": 1.5,
        "seed": 3,
    }
    handover, _ = await pair.first.prefill("shaped", text())
    split = await answer(pair.second, "shaped", text(), handover=handover, **sampling)
    assert split == await answer(pair.first, "shaped-whole", text(), **sampling)


async def test_a_handover_of_a_refused_request_is_released(pair: "Pair") -> None:
    from saccade.serving.engine.runtime import RejectedError
    from tests.integration.engine_pair import answer, text

    handover, _ = await pair.first.prefill("refused", text())
    with pytest.raises(RejectedError):
        await answer(pair.second, "refused", text(*([7] * 3000)), handover=handover)
    assert not await pair.second.release("refused", handover)


async def test_an_aborted_prefill_ends_without_a_handover(pair: "Pair") -> None:
    from saccade.serving.engine.runtime import EngineFailedError
    from tests.integration.engine_pair import text

    prefill = asyncio.ensure_future(pair.first.prefill("aborted", text(*([7] * 1900), salt="a")))
    while not pair.first.num_unfinished:  # noqa: ASYNC110  the engine signals nothing
        await asyncio.sleep(0)
    await pair.first.abort("aborted")
    with pytest.raises(EngineFailedError):
        await prefill
    assert not pair.first.num_unfinished


async def test_visual_tokens_that_would_kill_the_engine_are_refused(pair: "Pair") -> None:
    import torch

    from saccade.encoders.base import VisualTokens
    from saccade.serving.engine.runtime import EngineFailedError
    from tests.integration.engine_pair import answer, text, with_pictures

    prompt, (fine,) = with_pictures([20], seed=1)
    tokens = fine.embeddings
    for bad in (tokens[:-1], tokens[:, :-1], torch.full_like(tokens, float("nan"))):
        with pytest.raises(EngineFailedError):
            await answer(pair.first, "bad", prompt, [VisualTokens(bad, None, 20)])
    with pytest.raises(EngineFailedError):
        await answer(pair.first, "missing", prompt, [])
    assert (await answer(pair.first, "still alive", text()))[1] == "length"


async def test_a_reader_who_leaves_ends_the_request_in_the_engine(pair: "Pair") -> None:
    from vllm import SamplingParams

    from saccade.serving.engine.codec import encode_sampling
    from saccade.serving.transport.instance_pb2 import GenerateRequest
    from tests.integration.engine_pair import text

    sampling = encode_sampling(SamplingParams(temperature=0, max_tokens=1900, ignore_eos=True))
    request = GenerateRequest(request_key="leaves", prompt=text(), sampling=sampling)
    async with aclosing(pair.first.generate(request, ())) as chunks:
        async for _ in chunks:
            break
    assert not pair.first.num_unfinished


async def test_idle_engines_leave_the_cores_alone(pair: "Pair") -> None:
    from tests.integration.engine_pair import answer, text

    handover, _ = await pair.first.prefill("before", text())
    await answer(pair.second, "before", text(), handover=handover)
    engines = [child for child in psutil.Process().children() if "EngineCor" in child.name()]
    assert len(engines) == 2
    shares = [engine.cpu_percent(interval=1.5) / 100 for engine in engines]
    assert max(shares) < MAX_IDLE_CPU_SHARE, shares
