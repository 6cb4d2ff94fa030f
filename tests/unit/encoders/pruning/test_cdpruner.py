"""CDPruner: the authors' vectors, and what must hold for any tokens."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saccade.encoders.pruning import cdpruner
from tests.golden import cases
from tests.unit.encoders.pruning.drawn import (
    independent_tokens,
    keep_of,
    relevance_of,
    tokens,
)
from tests.unit.encoders.pruning.obvious import best_next, log_det

GOLDEN = cases("cdpruner_select")


def selected(
    projected: torch.Tensor, relevance: torch.Tensor, keep: int
) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = cdpruner.select(projected, relevance, keep, return_order=True)
    assert isinstance(chosen, tuple)
    return chosen


@pytest.mark.parametrize("name", GOLDEN)
def test_the_authors_code_chooses_the_same(name: str) -> None:
    case = GOLDEN[name]

    relevance = cdpruner.relevance(case["image_embeds"], case["text_embeds"])
    torch.testing.assert_close(relevance, case["relevance"], atol=1e-5, rtol=1e-5)
    indices, order = selected(case["proj"], relevance, int(case["visual_token_num"]))

    torch.testing.assert_close(indices.int(), case["selected_sorted"])
    if "greedy_order" in case:
        torch.testing.assert_close(order.int(), case["greedy_order"])


@given(tokens(), st.data())
def test_the_choice_is_sorted_and_without_repeats(
    given_: torch.Tensor, data: st.DataObject
) -> None:
    relevance, keep = data.draw(relevance_of(given_)), keep_of(data, given_.shape[1])

    indices, order = selected(given_, relevance, keep)

    assert indices.shape == order.shape == (len(given_), keep)
    assert bool((indices.diff(dim=1) > 0).all())
    assert torch.equal(order.sort(1).values, indices)


@given(tokens(), st.data())
def test_keeping_fewer_keeps_a_part_of_them(given_: torch.Tensor, data: st.DataObject) -> None:
    relevance, keep = data.draw(relevance_of(given_)), keep_of(data, given_.shape[1])

    _, order = selected(given_, relevance, given_.shape[1])

    assert torch.equal(selected(given_, relevance, keep)[1], order[:, :keep])


@given(independent_tokens(), st.data())
def test_each_step_multiplies_the_determinant_most(
    given_: torch.Tensor, data: st.DataObject
) -> None:
    relevance, keep = data.draw(relevance_of(given_)), keep_of(data, given_.shape[1])

    chosen = selected(given_, relevance, keep)[1][0].tolist()

    for step in range(keep):
        best = best_next(given_[0], relevance[0], chosen[:step])
        made = log_det(given_[0], relevance[0], chosen[: step + 1])
        assert made == pytest.approx(best, abs=1e-3)


@given(independent_tokens(), st.data())
def test_the_first_is_the_most_relevant(given_: torch.Tensor, data: st.DataObject) -> None:
    relevance = data.draw(relevance_of(given_))

    first = selected(given_, relevance, 1)[1][0, 0]

    assert relevance[0, first] == pytest.approx(float(relevance.max()), rel=1e-5)


@given(independent_tokens(), st.floats(0.1, 50.0), st.data())
def test_length_of_tokens_and_scale_of_relevance_change_nothing(
    given_: torch.Tensor, scale: float, data: st.DataObject
) -> None:
    relevance, keep = data.draw(relevance_of(given_)), keep_of(data, given_.shape[1])
    # Powers of two are exact, so that rounding cannot decide between equals.
    lengths = 2.0 ** torch.arange(given_.shape[1])[None, :, None].remainder(5)
    power = 2.0 ** round(scale).bit_length()

    chosen = selected(given_ * lengths, relevance * power, keep)[1]

    assert torch.equal(chosen, selected(given_, relevance, keep)[1])


@given(independent_tokens(), st.data())
def test_the_order_of_tokens_changes_nothing(given_: torch.Tensor, data: st.DataObject) -> None:
    relevance = torch.linspace(0.2, 1, given_.shape[1])[None]
    keep = keep_of(data, given_.shape[1])
    shuffled = torch.tensor(data.draw(st.permutations(range(given_.shape[1]))))

    order = selected(given_[:, shuffled], relevance[:, shuffled], keep)[1][0]

    chosen = selected(given_, relevance, keep)[1][0]
    same = log_det(given_[0], relevance[0], shuffled[order].tolist())
    assert same == pytest.approx(log_det(given_[0], relevance[0], chosen.tolist()), abs=1e-3)


@given(independent_tokens(), st.data())
def test_of_equal_tokens_the_second_comes_last(given_: torch.Tensor, data: st.DataObject) -> None:
    num_tokens = given_.shape[1]
    relevance = data.draw(relevance_of(given_))
    twice = torch.cat([given_, given_], 1)

    order = selected(twice, torch.cat([relevance, relevance], 1), 2 * num_tokens)[1]

    assert sorted(order[0, :num_tokens].remainder(num_tokens).tolist()) == list(range(num_tokens))


@given(st.integers(1, 12), st.data())
def test_orthogonal_tokens_are_kept_by_relevance(num_tokens: int, data: st.DataObject) -> None:
    given_ = torch.eye(num_tokens)[None]
    relevance = torch.tensor([data.draw(st.permutations(range(1, num_tokens + 1)))])

    _, order = selected(given_, relevance, num_tokens)

    assert torch.equal(order, relevance.argsort(1, descending=True))


def test_when_all_directions_are_taken_relevance_decides() -> None:
    features = torch.randn((1, 40, 4), generator=torch.Generator().manual_seed(1))
    relevance = torch.rand((1, 40), generator=torch.Generator().manual_seed(2)) + 0.1

    rest = selected(features, relevance, 40)[1][0, 4:]

    assert torch.equal(rest, rest[relevance[0, rest].argsort(descending=True)])


def test_a_token_of_zeros_is_kept_last() -> None:
    features = torch.eye(4)[None].clone()
    features[0, 1] = 0

    assert selected(features, torch.ones(1, 4), 4)[1].tolist() == [[0, 2, 3, 1]]


def test_rows_of_a_batch_are_chosen_as_if_alone() -> None:
    features = torch.randn((3, 37, 48), generator=torch.Generator().manual_seed(3))
    relevance = torch.rand((3, 37), generator=torch.Generator().manual_seed(4))

    together, _ = selected(features, relevance, 11)

    alone = [selected(features[i : i + 1], relevance[i : i + 1], 11)[0] for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


@given(tokens(), st.integers(1, 3), st.booleans(), st.booleans())
def test_relevance_spans_zero_to_one(
    image: torch.Tensor, num_texts: int, negate: bool, joint: bool
) -> None:
    text = torch.randn((num_texts, image.shape[-1]), generator=torch.Generator().manual_seed(0))

    found = cdpruner.relevance(image, text, negate=negate, joint=joint)

    assert found.shape == image.shape[:2]
    assert bool((found > 0).all())
    assert float(found.amax()) == pytest.approx(1, abs=1.1)
    if joint:
        again = cdpruner.relevance(image * 4, text * 8, negate=negate)
        torch.testing.assert_close(again, found)


def test_with_clip_the_least_similar_patch_is_the_most_relevant() -> None:
    image = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    text = torch.tensor([[2.0, 0.0]])

    assert cdpruner.relevance(image, text)[0].argsort().tolist() == [0, 2, 1]
    assert cdpruner.relevance(image, text, negate=False)[0].argsort().tolist() == [1, 2, 0]


def test_relevance_of_tiles_is_spread_over_all_of_them_unless_told_otherwise() -> None:
    image = torch.tensor([[[1.0, 0.0], [1.0, 0.1]], [[0.0, 1.0], [0.1, 1.0]]])
    text = torch.tensor([[1.0, 0.0]])

    joint = cdpruner.relevance(image, text, negate=False)
    apart = cdpruner.relevance(image, text, negate=False, joint=False)

    assert float(joint[1].max()) < 0.2
    torch.testing.assert_close(apart.amax(1), torch.ones(2), atol=2e-3, rtol=0)


def test_constant_relevance_is_one() -> None:
    image = torch.ones(2, 3, 4)

    assert torch.equal(cdpruner.relevance(image, torch.ones(1, 4)), torch.ones(2, 3))


def test_strength_goes_from_diversity_alone_to_relevance() -> None:
    relevance = torch.tensor([[0.0, 0.5, 1.0]])

    assert torch.equal(cdpruner.strengthened(relevance, 0), torch.ones(1, 3))
    ratio = (
        cdpruner.strengthened(relevance, 0.5)[0, 2] / cdpruner.strengthened(relevance, 0.5)[0, 0]
    )
    assert float(ratio) == pytest.approx(2.718281**0.5, rel=1e-5)
    with pytest.raises(ValueError, match="below 1"):
        cdpruner.strengthened(relevance, 1.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused_by_name(bad: float) -> None:
    broken = torch.ones(1, 3, 2)
    broken[0, 1, 1] = bad

    with pytest.raises(ValueError, match=r"^projected has NaN or infinity"):
        cdpruner.select(broken, torch.ones(1, 3), 2)
    with pytest.raises(ValueError, match=r"^relevance has NaN or infinity"):
        cdpruner.select(torch.ones(1, 3, 2), broken[:, :, 1], 2)
    with pytest.raises(ValueError, match=r"^image_embeds has NaN or infinity"):
        cdpruner.relevance(broken, torch.ones(1, 2))


@pytest.mark.parametrize(
    ("projected", "relevance", "keep", "message"),
    [
        ((3, 2), (3,), 1, r"projected must be \[B, N, D\], its shape is \[3, 2\]"),
        ((1, 3, 2), (1, 4), 1, r"relevance must be \[B, N\] = \[1, 3\], its shape is \[1, 4\]"),
        ((1, 3, 2), (1, 3), 0, "keep must be from 1 to the number of tokens, 3; it is 0"),
        ((1, 3, 2), (1, 3), 4, "it is 4"),
    ],
)
def test_what_does_not_fit_is_refused(
    projected: tuple[int, ...], relevance: tuple[int, ...], keep: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cdpruner.select(torch.ones(projected), torch.ones(relevance), keep)


def test_texts_of_another_width_or_none_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="they have 2 and 5 numbers"):
        cdpruner.relevance(torch.ones(1, 3, 2), torch.ones(1, 5))
    with pytest.raises(ValueError, match="relevance needs a question"):
        cdpruner.relevance(torch.ones(1, 3, 2), torch.ones(0, 2))
