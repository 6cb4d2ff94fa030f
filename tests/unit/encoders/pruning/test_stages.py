"""Every built-in stage keeps the protocol's promises; some details of each."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saccade.encoders.pruning import cdpruner
from saccade.encoders.pruning.names import BUILT_IN
from saccade.encoders.pruning.registry import PruningRegistry
from saccade.encoders.pruning.stage import PruningRequestError, PruningStage, Query, Visual
from tests.unit.encoders.pruning.visuals import CONTRASTIVE, LANGUAGE, grid, visual

METHODS = sorted(BUILT_IN)
REGISTRY = PruningRegistry()


def stage(method: str, **options: Any) -> PruningStage:
    return REGISTRY.stage({"method": method, **options})


def applied(one: PruningStage, given_: Visual, query: Query | None = CONTRASTIVE) -> Visual:
    return one.apply(given_, query, one.plan(given_.shape)).visual


@given(
    st.sampled_from(METHODS),
    st.integers(1, 16),
    st.integers(1, 4),
    st.integers(0, 2),
    st.one_of(
        st.integers(1, 20).map(lambda keep: {"keep": keep}),
        st.sampled_from([0.01, 0.11, 0.5, 1.0]).map(lambda ratio: {"keep_ratio": ratio}),
    ),
)
def test_what_is_left_is_what_was_planned(
    method: str, part_tokens: int, num_parts: int, num_trailing: int, options: dict[str, Any]
) -> None:
    given_ = visual(part_tokens, num_parts, num_trailing)
    one = stage(method, **options)

    budget = one.plan(given_.shape)
    pruned = one.apply(given_, CONTRASTIVE, budget)

    left = pruned.visual.tokens
    assert pruned.report.num_tokens_before == given_.shape.num_tokens
    assert pruned.report.num_tokens_after == len(left.embeddings) == pruned.visual.shape.num_tokens
    assert num_trailing < len(left.embeddings) <= budget.num_tokens <= given_.shape.num_tokens
    if budget.is_exact:
        assert pruned.visual.shape == budget.shape
    assert left.positions is not None
    assert left.positions.shape == (len(left.embeddings), 3)
    assert left.extent == given_.tokens.extent
    if num_trailing:
        trailing = given_.tokens.embeddings[-num_trailing:]
        assert torch.equal(left.embeddings[-num_trailing:], trailing)


@pytest.mark.parametrize("method", METHODS)
def test_plans_do_not_shrink_when_there_is_more(method: str) -> None:
    one = stage(method, keep=5)

    plans = [one.plan(visual(tokens, 2).shape).num_tokens for tokens in (3, 5, 9)]

    assert plans == sorted(plans)


@pytest.mark.parametrize("method", ["cdpruner", "divprune", "random", "uniform"])
def test_a_kept_token_keeps_its_numbers_and_its_place_in_the_grid(method: str) -> None:
    places = grid(2, 3, 4)
    given_ = visual(12, 2, positions=places)

    left = applied(stage(method, keep=4), given_)

    assert left.tokens.positions is not None
    rows = [places.tolist().index(place) for place in left.tokens.positions.tolist()]
    assert rows == sorted(rows)
    assert [row // 12 for row in rows] == [0] * 4 + [1] * 4
    assert torch.equal(left.tokens.embeddings, given_.tokens.embeddings[rows])
    assert left.attention is not None
    assert given_.attention is not None
    assert torch.equal(left.attention, given_.attention[rows])


@pytest.mark.parametrize("method", METHODS)
def test_keeping_all_changes_nothing(method: str) -> None:
    given_ = visual(9, 2, 1)
    options = {"tau": 1.0} if method == "holitom" else {}

    left = applied(stage(method, keep_ratio=1.0, **options), given_)

    torch.testing.assert_close(left.tokens.embeddings, given_.tokens.embeddings)


def test_cdpruner_goes_by_the_towers_space_or_by_the_language_models() -> None:
    given_ = visual(30)
    assert given_.image_embeds is not None

    for query, embeds, negate in (
        (CONTRASTIVE, given_.image_embeds, True),
        (LANGUAGE, given_.tokens.embeddings, False),
    ):
        relevance = cdpruner.relevance(embeds[None], query.embeds, negate=negate)
        expected = cdpruner.select(given_.tokens.embeddings[None], relevance, 7)
        assert isinstance(expected, torch.Tensor)
        left = applied(stage("cdpruner", keep=7), given_, query)
        assert torch.equal(left.tokens.embeddings, given_.tokens.embeddings[expected[0]])


def test_cdpruner_follows_its_options() -> None:
    given_ = visual(30)

    def kept(**options: Any) -> list[int]:
        left = applied(stage("cdpruner", keep=7, **options), given_)
        assert left.tokens.positions is not None
        rows: list[int] = left.tokens.positions[:, 0].tolist()
        return rows

    assert kept() == kept(negate=True, joint=True)
    assert kept() != kept(negate=False)
    # Without strength, relevance is the same for all, and the first token is taken first.
    assert 0 in kept(theta=0.0)


def test_cdpruner_without_a_question_says_so() -> None:
    with pytest.raises(PruningRequestError, match="cdpruner needs a question"):
        applied(stage("cdpruner", keep=2), visual(), None)


@pytest.mark.parametrize("method", ["holitom", "visionzip"])
def test_methods_that_need_attention_say_so(method: str) -> None:
    given_ = visual()
    blind = Visual(given_.tokens, given_.shape)

    with pytest.raises(PruningRequestError, match=f"{method} needs the tower's attention"):
        applied(stage(method, keep=2), blind)


def test_random_draws_parts_apart_and_repeats_itself() -> None:
    given_ = visual(40, 2)

    first = applied(stage("random", keep=6, seed=3), given_)
    again = applied(stage("random", keep=6, seed=3), given_)
    other = applied(stage("random", keep=6, seed=4), given_)

    assert torch.equal(first.tokens.embeddings, again.tokens.embeddings)
    assert not torch.equal(first.tokens.embeddings, other.tokens.embeddings)
    assert first.tokens.positions is not None
    within = first.tokens.positions[:, 0].remainder(40).reshape(2, 6)
    assert not torch.equal(within[0], within[1])


def test_llavolta_averages_windows_and_their_positions() -> None:
    given_ = visual(10)

    left = applied(stage("llavolta", keep=3), given_)

    # A stride of 4 is the smallest that leaves 3.
    expected = [part.mean(0) for part in given_.tokens.embeddings.split(4)]
    torch.testing.assert_close(left.tokens.embeddings, torch.stack(expected))
    assert left.tokens.positions is not None
    assert left.tokens.positions[:, 0].tolist() == [1, 5, 8]


def test_holitom_gives_what_stands_still_the_time_of_its_first_frame() -> None:
    frame = visual(12).tokens.embeddings
    given_ = visual(12, 3, positions=grid(3, 3, 4))
    given_.tokens.embeddings[:] = frame.repeat(3, 1)

    left = applied(stage("holitom", keep=4), given_)

    assert left.tokens.positions is not None
    assert left.tokens.positions.tolist() == grid(3, 3, 4)[:12].tolist()
    torch.testing.assert_close(left.tokens.embeddings, frame)


def test_holitom_leaves_at_least_one_token() -> None:
    given_ = visual(1, 2)
    given_.tokens.embeddings[1] = given_.tokens.embeddings[0]

    left = applied(stage("holitom", keep_ratio=0.05), given_)

    assert len(left.tokens.embeddings) == 1


@pytest.mark.parametrize("method", METHODS)
def test_broken_numbers_are_no_choice(method: str) -> None:
    given_ = visual()
    given_.tokens.embeddings[3, 3] = torch.nan

    if method in ("random", "uniform"):
        return  # They look at no number; the encoder's own check is behind them.
    with pytest.raises(ValueError, match="has NaN or infinity"):
        applied(stage(method, keep=4), given_)


def test_a_visual_of_another_shape_is_refused() -> None:
    given_ = visual(5)

    with pytest.raises(ValueError, match="5 visual tokens do not have the shape"):
        Visual(given_.tokens, given_.shape.keeping(6))
