"""TPOT and inter-token latency of answers, by the load tester's definitions."""

from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from saccade.scheduler.placement import Placement
from saccade.serving.errors import InternalError
from saccade.serving.gateway.context import RequestContext
from saccade.serving.gateway.latency import LatencyMetrics, timed
from saccade.serving.transport.instance_pb2 import GenerateChunk
from tests.unit.gateway.fakes import (
    WHOLE,
    Clock,
    Cluster,
    Script,
    a_request,
    an_answer,
    collect,
)

GAP_S = 0.25
TEXT = {"modality": "text", "group": "all"}
IMAGE = {"modality": "image", "group": "all"}
ITL = "inter_token_latency_seconds"
TPOT = "request_time_per_output_token_seconds"


def slow_cluster(script: Script | None = None) -> Cluster:
    """Each of an answer's three tokens comes a quarter of a second after the one before."""
    cluster = Cluster(WHOLE, script)
    cluster.world.takes_s["between chunks"] = GAP_S
    return cluster


async def test_an_answer_has_its_gaps_and_one_time_per_token() -> None:
    cluster = slow_cluster()
    await cluster.answer(a_request())
    assert cluster.metric(f"{ITL}_count", **TEXT) == 2
    assert cluster.metric(f"{ITL}_sum", **TEXT) == pytest.approx(2 * GAP_S)
    assert cluster.metric(f"{TPOT}_count", **TEXT) == 1
    assert cluster.metric(f"{TPOT}_sum", **TEXT) == pytest.approx(GAP_S)


async def test_a_request_with_a_picture_is_counted_apart() -> None:
    cluster = slow_cluster()
    await cluster.answer(a_request(1))
    assert cluster.metric(f"{TPOT}_count", **IMAGE) == 1
    assert cluster.metric(f"{TPOT}_count", **TEXT) == 0


async def test_the_group_of_a_request_is_in_its_labels() -> None:
    cluster, context = slow_cluster(), a_request()
    context.group = "multimodal"
    await cluster.answer(context)
    assert cluster.metric(f"{TPOT}_count", modality="text", group="multimodal") == 1


async def test_an_answer_that_fails_has_gaps_but_no_time_per_token() -> None:
    cluster = slow_cluster(Script(pulls=["dies"]))
    with pytest.raises(InternalError):
        await collect(cluster.dispatcher.generate(a_request(), an_answer()))
    assert cluster.metric(f"{TPOT}_count", **TEXT) == 0


async def test_the_warm_up_is_not_counted() -> None:
    cluster, context = slow_cluster(), a_request()
    context.pinned = Placement("llm-0", "llm-0")
    await cluster.answer(context)
    assert cluster.metric(f"{ITL}_count", **TEXT) == cluster.metric(f"{TPOT}_count", **TEXT) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.floats(0.001, 10, allow_nan=False)), min_size=1, max_size=8
    )
)
async def test_gaps_and_time_per_token_are_those_of_the_definition(
    steps: Sequence[tuple[int, float]],
) -> None:
    clock, registry = Clock(0.0), CollectorRegistry()

    async def chunks() -> AsyncGenerator[GenerateChunk, None]:
        for number, (num_tokens, pause_s) in enumerate(steps):
            clock.now_s += pause_s
            last = number == len(steps) - 1
            yield GenerateChunk(token_ids=[1] * num_tokens, finish_reason="stop" if last else "")

    context: RequestContext = a_request()
    await collect(timed(chunks(), LatencyMetrics(registry), context, clock))

    # The reference: the moments of all chunks that hold tokens.
    moments_s, now_s = [], 0.0
    for num_tokens, pause_s in steps:
        now_s += pause_s
        moments_s += [now_s] if num_tokens else []
    num_tokens = sum(number for number, _ in steps)
    gaps = registry.get_sample_value(f"saccade_{ITL}_count", TEXT)
    assert gaps == max(0, len(moments_s) - 1)
    tpot_s = registry.get_sample_value(f"saccade_{TPOT}_sum", TEXT)
    if num_tokens > 1:
        assert tpot_s == pytest.approx((moments_s[-1] - moments_s[0]) / (num_tokens - 1))
    else:
        assert tpot_s is None
