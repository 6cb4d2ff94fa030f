"""Every hand-over ends in exactly one pull or one release, whatever happens on the way.

What an instance holds for a hand-over that nobody ends is lost until its lease runs out, and a
second pull gives wrong tokens. So each place where a request can end is tried here.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.serving.errors import InternalError
from saccade.serving.gateway.dispatch import MAX_PREFILLS
from tests.unit.gateway.fakes import (
    LEASE_S,
    SPLIT,
    TOKENS,
    WHOLE,
    Cluster,
    Pull,
    Script,
    Steps,
    a_request,
    an_answer,
    tokens,
)

STALE_S = LEASE_S * 0.7
PULLS: list[Pull] = ["works", "fails", "refused", "dies"]
SCRIPTS = {
    "all goes well": Script(),
    "the first pull fails": Script(pulls=["fails"]),
    "all pulls fail": Script(pulls=["fails"] * MAX_PREFILLS),
    "the decode instance refuses": Script(pulls=["refused"]),
    "the decode instance dies": Script(pulls=["dies"]),
    "the first hand-over is stale": Script(stage_delays_s=[STALE_S]),
    "all hand-overs are stale": Script(stage_delays_s=[STALE_S] * MAX_PREFILLS),
    "a stale one, then a failing one": Script(stage_delays_s=[STALE_S], pulls=["fails"]),
}


def run(work: Coroutine[Any, Any, Cluster]) -> Cluster:
    with asyncio.Runner() as runner:
        return runner.run(work)


async def cancelled_at(step: int | None, script: Script, num_pictures: int = 1) -> Cluster:
    """One request whose client leaves when the step of this number is reached."""
    cluster, context = Cluster(script=script), a_request(num_pictures)
    request = asyncio.ensure_future(cluster.answer(context))
    cluster.world.steps = Steps(step, request.cancel)
    with suppress(asyncio.CancelledError, InternalError):
        await cluster.until(request, context)
    return cluster


async def closed_after(num_chunks: int, script: Script) -> Cluster:
    """One request whose reader closes the answer after some chunks."""
    cluster, context = Cluster(script=script), a_request()
    chunks = cluster.dispatcher.generate(context, an_answer())

    async def read() -> None:
        async with aclosing(chunks):
            for _ in range(num_chunks):
                await anext(chunks)

    with suppress(StopAsyncIteration, InternalError):
        await cluster.until(read(), context)
    return cluster


def assert_books_balance(cluster: Cluster) -> None:
    ledger = cluster.world.ledger
    assert [len(ended) for ended in ledger.endings.values()] == [1] * len(ledger.granted)
    assert cluster.load == 0
    assert len(ledger.granted) <= MAX_PREFILLS
    assert cluster.metric("kv_released_total") == ledger.count()["released"]
    assert cluster.metric("kv_transfers_total") <= ledger.count()["pulled"]


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_client_may_leave_at_any_step(script: Script) -> None:
    num_steps = len(run(cancelled_at(None, script)).world.steps.names)
    assert num_steps > 5
    for step in range(num_steps):
        cluster = run(cancelled_at(step, script))
        assert_books_balance(cluster)
        assert cluster.world.open_streams == 0


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_reader_may_close_the_answer_after_any_chunk(script: Script) -> None:
    for num_chunks in range(len(TOKENS) + 2):
        assert_books_balance(run(closed_after(num_chunks, script)))


@given(
    st.integers(0, 40),
    st.lists(st.sampled_from(PULLS), max_size=4),
    st.lists(st.sampled_from([0.0, STALE_S]), max_size=4),
    st.integers(0, 2),
)
def test_books_balance_for_any_mixture_of_failures(
    step: int, pulls: list[Pull], delays_s: list[float], num_pictures: int
) -> None:
    script = Script(pulls=pulls, stage_delays_s=delays_s)
    assert_books_balance(run(cancelled_at(step, script, num_pictures)))


async def test_a_client_who_leaves_during_prefill_has_it_released_when_it_is_done() -> None:
    cluster = await _left_at("prefilling")
    assert cluster.world.ledger.count() == {"released": 1}
    assert cluster.world.calls[-1] == ("decode-0", "release")


async def test_a_client_who_leaves_before_prefill_causes_none() -> None:
    cluster = await _left_at("staging on prefill-0")
    assert cluster.world.ledger.granted == []


async def test_a_client_who_leaves_before_the_first_token_causes_no_second_pull() -> None:
    cluster = await _left_at("before the first chunk")
    assert cluster.world.ledger.count() == {"pulled": 1}
    assert cluster.metric("kv_released_total") == 0


async def test_a_client_who_leaves_while_encoding_ends_the_encoding() -> None:
    cluster = await _left_at("encoding")
    assert cluster.world.calls == [("encode-0", "encode")]


async def _left_at(name: str) -> Cluster:
    names = (await cancelled_at(None, Script())).world.steps.names
    return await cancelled_at(names.index(name), Script())


async def test_a_failed_hand_over_prefills_again() -> None:
    cluster, context = Cluster(script=Script(pulls=["fails"])), a_request(num_pictures=1)
    assert tokens(await cluster.answer(context)) == list(TOKENS)
    await cluster.dispatcher.settle()
    assert cluster.world.count("prefill") == 2
    assert cluster.world.count("encode") == 1
    assert cluster.world.ledger.count() == {"pulled": 2}
    assert cluster.metric("kv_transfers_total") == 1
    assert cluster.metric("kv_retries_total") == 1
    # Both attempts had the picture at both places.
    assert [len(seen) for _, seen in cluster.fakes["prefill-0"].seen] == [1, 1]
    assert [len(seen) for _, seen in cluster.fakes["decode-0"].seen] == [1, 1]


async def test_after_three_failed_hand_overs_the_request_fails() -> None:
    cluster = Cluster(script=Script(pulls=["fails"] * 9))
    with pytest.raises(InternalError):
        await cluster.answer(a_request())
    await cluster.dispatcher.settle()
    assert cluster.world.count("prefill") == MAX_PREFILLS == 3
    assert cluster.metric("kv_transfers_total") == 0


async def test_retries_are_prefills_that_were_repeated() -> None:
    cluster = Cluster(script=Script(pulls=["fails"] * 9))
    with pytest.raises(InternalError):
        await cluster.answer(a_request())
    assert cluster.metric("kv_retries_total") == cluster.world.count("prefill") - 1


async def test_an_error_after_the_first_token_does_not_prefill_again() -> None:
    cluster = Cluster(script=Script(pulls=["dies"]))
    with pytest.raises(InternalError):
        await cluster.answer(a_request())
    assert cluster.world.count("prefill") == 1


async def test_a_stale_hand_over_is_released_and_not_pulled() -> None:
    cluster = Cluster(script=Script(stage_delays_s=[STALE_S]))
    assert tokens(await cluster.answer(a_request(num_pictures=1))) == list(TOKENS)
    await cluster.dispatcher.settle()
    assert cluster.world.ledger.endings == {
        b"handover-0": ["released"],
        b"handover-1": ["pulled"],
    }
    assert cluster.metric("kv_retries_total") == 1


async def test_a_hand_over_with_a_third_of_its_lease_left_is_pulled() -> None:
    cluster = Cluster(script=Script(stage_delays_s=[LEASE_S * 2 / 3]))
    await cluster.answer(a_request(num_pictures=1))
    assert cluster.world.ledger.count() == {"pulled": 1}


async def test_a_release_that_fails_does_not_fail_the_request() -> None:
    script = Script(stage_delays_s=[STALE_S], releases_fail=True)
    cluster = Cluster(script=script)
    assert tokens(await cluster.answer(a_request(num_pictures=1))) == list(TOKENS)
    await cluster.dispatcher.settle()
    assert cluster.metric("kv_released_total") == 0


async def test_without_a_hand_over_nothing_is_released() -> None:
    cluster = Cluster(WHOLE, Script(pulls=["dies"]))
    with pytest.raises(InternalError):
        await cluster.answer(a_request())
    await cluster.dispatcher.settle()
    assert cluster.world.count("release") == 0


async def test_a_prefill_that_comes_after_its_deadline_is_not_waited_for() -> None:
    cluster = Cluster(SPLIT, Script(hang="prefilled"), stage_timeout_s=0.001)
    context = a_request()
    with pytest.raises(InternalError):
        await cluster.until(cluster.answer(context), context)
    assert cluster.world.count("generate") == 0
    assert cluster.load == 0
