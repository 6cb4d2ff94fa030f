"""Placement by what the index says of prefix caches."""

from collections.abc import Iterator

import pytest

from saccade.scheduler.cluster import Role
from saccade.serving.caches.block_events import Batch, Removed, Stored
from saccade.serving.gateway.costs import PrefillCosts
from saccade.serving.gateway.dispatch import Answer
from saccade.serving.gateway.placing import PlacementName
from saccade.serving.gateway.prefixes import PrefixEstimate
from saccade.serving.transport.instance_pb2 import GenerateChunk, Prompt
from tests.unit.gateway.fakes import Cluster, a_request, collect

BLOCK = 32
FOUR: dict[str, frozenset[Role]] = {
    "decode-0": frozenset({"decode"}),
    "prefill-0": frozenset({"prefill"}),
    "prefill-1": frozenset({"prefill"}),
    "prefill-2": frozenset({"prefill"}),
}


def numbers(prompt: Prompt) -> Iterator[int]:
    """Names blocks by the number of their last token, as one that asks for no vLLM."""
    yield from range(1, (len(prompt.token_ids) - 1) // BLOCK + 1)


def a_prompt(num_blocks: int) -> Prompt:
    return Prompt(token_ids=range(num_blocks * BLOCK + 1))


def a_cluster(placement: PlacementName = "cache_aware", **blocks: int) -> Cluster:
    """Instances hold so many of the first blocks."""
    cluster = Cluster(FOUR, placement=placement)
    cluster.prefixes.hash_with(numbers, BLOCK, "seed")
    for name, num_blocks in blocks.items():
        hashes = tuple(range(1, num_blocks + 1))
        followed = cluster.prefixes.index.add(name.replace("_", "-"))
        followed.on_batch(Batch(0, 1, (Stored(hashes),)))
    return cluster


async def prefilled_by(cluster: Cluster, prompt: Prompt) -> str:
    cluster.world.calls.clear()
    await collect(cluster.dispatcher.generate(a_request(), Answer("a", prompt, b"")))
    [name] = [name for name, method in cluster.world.calls if method == "prefill"]
    return name


async def test_a_prompt_goes_where_most_of_it_is_cached() -> None:
    cluster = a_cluster(prefill_1=4, prefill_2=9)
    assert await prefilled_by(cluster, a_prompt(10)) == "prefill-2"
    answer = Answer("b", a_prompt(10), b"")
    await collect(cluster.dispatcher.generate(a_request(), answer))
    assert answer.prefix.expected_tokens == 9 * BLOCK


async def test_without_an_index_it_goes_to_the_shortest_queue() -> None:
    cluster = Cluster(FOUR)
    with cluster.instances["prefill-0"].working("prefill"):
        assert await prefilled_by(cluster, a_prompt(10)) == "prefill-1"


async def test_a_queue_longer_than_what_is_saved_turns_it_away() -> None:
    cluster = a_cluster(prefill_2=9)
    busy = cluster.instances["prefill-2"]
    with busy.working("prefill"), busy.working("prefill"):
        assert await prefilled_by(cluster, a_prompt(10)) != "prefill-2"
    assert await prefilled_by(cluster, a_prompt(10)) == "prefill-2"


async def test_a_short_match_is_not_worth_a_queue_of_one() -> None:
    cluster = a_cluster(prefill_2=1)
    with cluster.instances["prefill-2"].working("prefill"):
        assert await prefilled_by(cluster, a_prompt(10)) != "prefill-2"


async def test_what_was_removed_attracts_nobody() -> None:
    cluster = a_cluster(prefill_2=9)
    cluster.prefixes.index.blocks()["prefill-2"].on_batch(Batch(1, 2, (Removed((1,)),)))
    assert cluster.prefixes.held_tokens(a_prompt(10)) == {}
    assert await prefilled_by(cluster, a_prompt(10)) == "prefill-0"


async def test_the_least_loaded_is_chosen_without_regard_to_what_is_cached() -> None:
    cluster = a_cluster("least_loaded", prefill_2=9)
    with cluster.instances["prefill-0"].working("prefill"):
        answer = Answer("a", a_prompt(10), b"")
        await collect(cluster.dispatcher.generate(a_request(), answer))
    assert ("prefill-1", "prefill") in cluster.world.calls
    assert answer.prefix.expected_tokens == 0


async def test_in_turns_every_instance_gets_its_share_and_the_index_is_asked_all_the_same() -> None:
    cluster = a_cluster("round_robin", prefill_2=9)
    answers = [Answer(str(number), a_prompt(10), b"") for number in range(6)]
    for answer in answers:
        await collect(cluster.dispatcher.generate(a_request(), answer))
    names = [name for name, method in cluster.world.calls if method == "prefill"]
    assert names == ["prefill-0", "prefill-1", "prefill-2"] * 2
    assert [answer.prefix.expected_tokens for answer in answers] == [0, 0, 9 * BLOCK] * 2


@pytest.mark.parametrize(
    ("expected", "cached", "too_many", "too_few"),
    [(96, 64, 32, 0), (64, 96, 0, 32), (64, 64, 0, 0)],
)
def test_what_was_cached_is_compared_with_what_was_expected_once(
    expected: int, cached: int, too_many: int, too_few: int
) -> None:
    cluster = a_cluster()
    estimate = PrefixEstimate(expected_tokens=expected)
    for chunk in (
        GenerateChunk(),
        GenerateChunk(num_cached_tokens=cached),
        GenerateChunk(num_cached_tokens=0),
    ):
        cluster.prefixes.settle(estimate, a_prompt(10), chunk)
    assert cluster.metric("prefix_cached_tokens_total") == cached
    assert cluster.metric("prefix_misjudged_tokens_total", direction="too_many") == too_many
    assert cluster.metric("prefix_misjudged_tokens_total", direction="too_few") == too_few


def test_costs_follow_what_was_timed_whatever_the_machine() -> None:
    costs = PrefillCosts()
    # A machine where a token takes 1 ms and a step 20 ms: far from any that the model knows.
    for number in range(200):
        tokens = 100 + 37 * number % 500
        cached = 32 * (number % 3)
        costs.observe(tokens, cached, 0.02 + 1e-3 * (tokens - cached))
    assert costs.saved_s(600, 320) == pytest.approx(0.32, rel=0.05)
    # In prefills of usual length, which are 0.34 s here, as the queues are counted.
    model = costs.in_requests
    saved = model.prefill_s(600) - model.prefill_s(600, 320)
    assert saved == pytest.approx(0.32 / 0.34, rel=0.15)


def test_what_the_cost_model_was_wrong_by_is_counted_before_it_learns() -> None:
    cluster = a_cluster()
    estimate = PrefixEstimate(expected_tokens=0, prefill_s=1e6)
    cluster.prefixes.settle(estimate, a_prompt(10), GenerateChunk(num_cached_tokens=0))
    error = "cost_model_error_ratio"
    assert cluster.metric(f"{error}_count", stage="prefill") == 1
    # It said next to nothing, where a million seconds were measured.
    assert cluster.metric(f"{error}_sum", stage="prefill") == pytest.approx(1.0, abs=1e-3)
    not_alone = PrefixEstimate(expected_tokens=0)
    cluster.prefixes.settle(not_alone, a_prompt(10), GenerateChunk(num_cached_tokens=0))
    assert cluster.metric(f"{error}_count", stage="prefill") == 1


def test_before_anything_was_timed_a_whole_prompt_is_worth_about_one_in_the_queue() -> None:
    model = PrefillCosts().in_requests
    assert 0.5 < model.prefill_s(512) - model.prefill_s(512, 480) < 1


def test_a_prefill_has_an_instance_to_itself_only_if_nothing_else_was_begun_meanwhile() -> None:
    instance = Cluster(FOUR).instances["prefill-0"]
    with instance.working("prefill") as first:
        assert first()
        with instance.working("prefill") as second:
            assert not second()
        assert not first()
    with instance.working("prefill") as third:
        assert third()
