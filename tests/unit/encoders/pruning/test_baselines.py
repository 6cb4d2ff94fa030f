"""The selections that methods are compared with."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saccade.encoders.pruning import baselines
from tests.unit.encoders.pruning.drawn import independent_tokens, keep_of, tokens
from tests.unit.encoders.pruning.obvious import smallest_distance


def is_choice(indices: torch.Tensor, num_tokens: int, keep: int) -> bool:
    """Rising, without repeats, in range."""
    rising = bool((indices.diff(dim=-1) > 0).all())
    return (
        rising
        and indices.shape[-1] == keep
        and 0 <= int(indices.min()) <= int(indices.max()) < num_tokens
    )


@given(st.integers(1, 300), st.data())
def test_uniform_keeps_the_same_distance_everywhere(num_tokens: int, data: st.DataObject) -> None:
    keep = keep_of(data, num_tokens)

    indices = baselines.uniform(num_tokens, keep)

    assert is_choice(indices, num_tokens, keep)
    steps = indices.diff()
    assert keep < 3 or int(steps.max()) - int(steps.min()) <= 1
    # As far from the beginning as from the end.
    assert abs(int(indices[0]) - (num_tokens - 1 - int(indices[-1]))) <= 1


@given(st.integers(1, 300), st.integers(0, 2**31), st.data())
def test_random_is_the_same_for_the_same_seed(
    num_tokens: int, seed: int, data: st.DataObject
) -> None:
    keep = keep_of(data, num_tokens)

    indices = baselines.random(num_tokens, keep, seed)

    assert is_choice(indices, num_tokens, keep)
    assert torch.equal(indices, baselines.random(num_tokens, keep, seed))


def test_random_keeps_every_token_as_often() -> None:
    times = torch.zeros(10)
    for seed in range(2000):
        times[baselines.random(10, 3, seed)] += 1

    assert times.div(2000).tolist() == pytest.approx([0.3] * 10, abs=0.05)


@given(tokens(), st.data())
def test_divprune_makes_a_choice_of_anything(features: torch.Tensor, data: st.DataObject) -> None:
    keep = keep_of(data, features.shape[1])

    assert is_choice(baselines.divprune(features, keep), features.shape[1], keep)


@given(independent_tokens(max_tokens=7), st.data())
def test_divprune_comes_within_half_of_the_best(
    features: torch.Tensor, data: st.DataObject
) -> None:
    # Gonzalez's bound holds for metrics; half of 1 - cos is half a squared one, hence a quarter.
    keep = data.draw(st.integers(2, max(2, features.shape[1])))
    if keep > features.shape[1]:
        return
    best = max(
        smallest_distance(features[0], chosen)
        for chosen in combinations(range(features.shape[1]), keep)
    )

    chosen = baselines.divprune(features, keep)[0].tolist()

    assert smallest_distance(features[0], chosen) >= best / 4 - 1e-5


def test_divprune_takes_the_farthest_first() -> None:
    angles = torch.tensor([0.0, 0.1, 0.2, 2.0, 2.1, 4.0])
    features = torch.stack([angles.cos(), angles.sin()], -1)[None]

    assert baselines.divprune(features, 1).tolist() == [[5]]
    assert baselines.divprune(features, 3).tolist() == [[2, 4, 5]]


@given(tokens(), st.data())
def test_visionzip_keeps_what_was_attended_to(features: torch.Tensor, data: st.DataObject) -> None:
    keep = keep_of(data, features.shape[1])
    attention = torch.rand(features.shape[:2], generator=torch.Generator().manual_seed(keep))

    kept, indices = baselines.visionzip(features, features, attention, keep)

    assert is_choice(indices, features.shape[1], keep)
    assert kept.shape == (len(features), keep, features.shape[2])
    num_dominant = keep - round(keep * baselines.CONTEXTUAL_RATIO)
    top = attention.topk(num_dominant, dim=1).indices
    for row in range(len(features)):
        places = {int(index): place for place, index in enumerate(indices[row])}
        for token in top[row].tolist():
            assert torch.equal(kept[row, places[token]], features[row, token])


def test_visionzip_merges_each_of_the_rest_once() -> None:
    features = torch.randn((1, 100, 6), generator=torch.Generator().manual_seed(8)) + 2
    attention = torch.rand((1, 100), generator=torch.Generator().manual_seed(9))
    ones = torch.cat([features, torch.ones(1, 100, 1)], -1)

    kept, indices = baselines.visionzip(ones, features, attention, 32)

    # Five merged ones of 73; a mean of ones is one.
    torch.testing.assert_close(kept[..., -1], torch.ones(1, 32))
    changed = (kept != ones[0, indices[0]]).any(-1).sum()
    assert int(changed) == 5


@pytest.mark.parametrize("keep", [0, 4])
def test_a_budget_out_of_range_is_refused(keep: int) -> None:
    features, attention = torch.ones(1, 3, 2), torch.ones(1, 3)
    for refused in (
        lambda: baselines.uniform(3, keep),
        lambda: baselines.random(3, keep, 0),
        lambda: baselines.divprune(features, keep),
        lambda: baselines.visionzip(features, features, attention, keep),
    ):
        with pytest.raises(ValueError, match=f"from 1 to the number of tokens, 3; it is {keep}"):
            refused()


def test_what_is_not_finite_is_refused() -> None:
    broken = torch.full((1, 3, 2), torch.nan)

    with pytest.raises(ValueError, match="features has NaN"):
        baselines.divprune(broken, 2)
    with pytest.raises(ValueError, match="attention has NaN"):
        baselines.visionzip(torch.ones(1, 3, 2), torch.ones(1, 3, 2), broken[..., 0], 2)
