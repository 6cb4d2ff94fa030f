"""HoliTom's outer stage: the authors' vectors, and what must hold for any clip."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saccade.encoders.pruning import holitom
from tests.golden import cases
from tests.unit.encoders.pruning.drawn import clips, keep_of, tokens
from tests.unit.encoders.pruning.obvious import merged_clusters, partitions, saving

SEGMENT, CLUSTERS, OUTER = (
    cases(name) for name in ("holitom_segment", "holitom_dpcknn", "holitom_outer")
)
RATIOS = st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9, 1.0])


@pytest.mark.parametrize("name", SEGMENT)
def test_the_authors_code_cuts_the_same(name: str) -> None:
    case = SEGMENT[name]

    segments, saved = holitom.segment(
        case["feature_sim"], float(case["tau"]), int(case["max_window"])
    )

    assert [list(one) for one in segments] == case["segments"].tolist()
    assert saved == int(case["total_reduced"])


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_authors_code_clusters_the_same(name: str) -> None:
    case = CLUSTERS[name]

    merged, centres = holitom.dpc_knn(case["x"], int(case["cluster_num"]), int(case["k"]))

    torch.testing.assert_close(centres.int(), case["centers_sorted"])
    torch.testing.assert_close(merged, case["merged_beta0.6"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", OUTER)
def test_the_authors_code_merges_the_same(name: str) -> None:
    case = OUTER[name]

    merged, counts = holitom.merge(
        case["features"],
        case["attn"],
        tau=float(case["tau"]),
        retain_ratio=float(case["retain_ratio"]),
    )

    assert counts == case["seg_lens_one_token"].tolist()
    torch.testing.assert_close(merged, case["out_one_token"], atol=1e-5, rtol=1e-5)


@given(clips(), st.sampled_from([0.3, 0.6, 0.9]), st.integers(1, 8))
def test_no_other_cut_saves_more(
    clip: tuple[torch.Tensor, torch.Tensor], tau: float, max_window: int
) -> None:
    similarity = torch.cosine_similarity(clip[0][:-1], clip[0][1:], dim=-1)

    segments, saved = holitom.segment(similarity, tau, max_window)

    assert [frame for first, last in segments for frame in range(first, last + 1)] == list(
        range(len(clip[0]))
    )
    assert all(last - first < max_window for first, last in segments)
    assert saved == saving(similarity, tau, segments)
    every = partitions(len(clip[0]), max_window)
    assert saved == max(saving(similarity, tau, other) for other in every)


def test_a_clip_without_anything_to_save_falls_into_frames() -> None:
    assert holitom.segment(torch.zeros(3, 5), 0.5, 1024) == ([(0, 0), (1, 1), (2, 2), (3, 3)], 0)


def test_a_still_clip_is_one_segment() -> None:
    assert holitom.segment(torch.ones(3, 5), 0.5, 1024) == ([(0, 3)], 15)


@given(tokens(max_batch=1, max_tokens=14), st.integers(1, 8), st.data())
def test_clusters_are_what_their_definition_says(
    x: torch.Tensor, k: int, data: st.DataObject
) -> None:
    count = keep_of(data, x.shape[1])

    merged, centres = holitom.dpc_knn(x, count, k)

    chosen = centres[0].tolist()
    assert chosen == sorted(set(chosen))
    expected, score = merged_clusters(x[0], chosen, min(k, count), 0.6)
    others = [score[i] for i in range(len(score)) if i not in chosen]
    # No token that was left out would have been a better centre, but for rounding.
    assert min(score[i] for i in chosen) >= max(others, default=0) - 1e-4
    if len({tuple(row) for row in x[0].tolist()}) == x.shape[1]:
        torch.testing.assert_close(merged[0], expected, atol=1e-4, rtol=1e-4)


@given(tokens())
def test_as_many_clusters_as_tokens_leave_them_alone(x: torch.Tensor) -> None:
    merged, centres = holitom.dpc_knn(x, x.shape[1])

    assert torch.equal(merged, x)
    assert torch.equal(centres, torch.arange(x.shape[1]).expand(len(x), -1))


def test_of_two_equal_tokens_one_is_the_centre() -> None:
    x = torch.tensor([[[0.0], [0.0], [9.0], [9.0]]])

    merged, centres = holitom.dpc_knn(x, 2)

    assert centres.tolist() == [[0, 2]]
    assert merged.tolist() == [[[0.0], [9.0]]]


@given(clips(), RATIOS, st.sampled_from([0.3, 0.6, 0.9]))
def test_no_clip_leaves_more_than_the_bound(
    clip: tuple[torch.Tensor, torch.Tensor], ratio: float, tau: float
) -> None:
    features, attention = clip

    merged, counts = holitom.merge(features, attention, tau=tau, retain_ratio=ratio)

    assert len(merged) == sum(counts)
    assert (
        len(merged) <= holitom.bound(len(attention), attention.shape[1], ratio) <= attention.numel()
    )


@given(clips())
def test_keeping_all_of_a_moving_clip_changes_nothing(
    clip: tuple[torch.Tensor, torch.Tensor],
) -> None:
    features, attention = clip

    merged, _ = holitom.merge(features, attention, tau=1.1, retain_ratio=1)

    assert torch.equal(merged, features.flatten(0, 1))


def test_of_a_still_clip_each_place_is_kept_once() -> None:
    frame = torch.randn((1, 9, 5), generator=torch.Generator().manual_seed(5))

    merged, counts = holitom.merge(
        frame.expand(6, -1, -1), torch.ones(6, 9), tau=0.8, retain_ratio=1 / 6
    )

    assert counts == [9]
    torch.testing.assert_close(merged, frame[0])


def test_what_moves_is_kept_by_salience_in_the_order_of_places() -> None:
    features = torch.randn((2, 4, 5), generator=torch.Generator().manual_seed(6))
    attention = torch.tensor([[0.1, 0.9, 0.2, 0.8], [0.9, 0.1, 0.1, 0.9]])

    merged, counts = holitom.merge(features, attention, tau=1, retain_ratio=0.5)

    assert counts == [2, 2]
    assert torch.equal(
        merged, torch.stack([features[0, 1], features[0, 3], features[1, 0], features[1, 3]])
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retain_ratio": 0.0}, "retain_ratio must be above 0"),
        ({"max_window": 0}, "max_window must be at least 1"),
        ({"attention": torch.ones(2, 3)}, r"attention must be \[2, 4\]"),
        ({"attention": torch.full((2, 4), torch.nan)}, "attention has NaN"),
        ({"features": torch.full((2, 4, 3), torch.inf)}, "features has NaN or infinity"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, object], message: str) -> None:
    given_: dict[str, object] = {
        "features": torch.ones(2, 4, 3),
        "attention": torch.ones(2, 4),
        "tau": 0.8,
        "retain_ratio": 0.5,
        **options,
    }
    with pytest.raises(ValueError, match=message):
        holitom.merge(**given_)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 4])
def test_a_number_of_clusters_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to 3; it is {count}"):
        holitom.dpc_knn(torch.ones(1, 3, 2), count)
