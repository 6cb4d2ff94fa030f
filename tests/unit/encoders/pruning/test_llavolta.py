"""LLaVolta's pooling: the authors' vectors, and what must hold for any sequence."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saccade.encoders.pruning import llavolta
from tests.golden import cases

GOLDEN = cases("llavolta_pool")


@pytest.mark.parametrize("name", GOLDEN)
def test_the_authors_code_pools_the_same(name: str) -> None:
    case = GOLDEN[name]
    positions = torch.arange(case["hidden"].shape[1]).expand(len(case["hidden"]), -1)

    hidden, moved = llavolta.pool(
        case["hidden"],
        positions,
        case["image_starts"],
        int(case["visual_length"]),
        int(case["stride"]),
    )

    torch.testing.assert_close(hidden, case["out_hidden"], atol=1e-5, rtol=1e-5)
    assert torch.equal(moved.int(), case["out_position_ids"])


@given(
    before=st.integers(0, 4),
    windows=st.integers(1, 5),
    stride=st.integers(1, 5),
    between=st.integers(0, 3),
    first=st.integers(0, 100_000),
)
def test_windows_become_their_means_and_text_stays(
    before: int, windows: int, stride: int, between: int, first: int
) -> None:
    length = windows * stride
    starts = [[before, before + length + between]]
    num_tokens = before + 2 * length + between + 2
    hidden = torch.randn((1, num_tokens, 3), generator=torch.Generator().manual_seed(first))
    positions = torch.arange(first, first + num_tokens)[None]

    pooled, moved = llavolta.pool(hidden, positions, starts, length, stride)

    assert pooled.shape[1] == moved.shape[1] == num_tokens - 2 * (length - windows)
    assert torch.equal(pooled[:, :before], hidden[:, :before])
    assert torch.equal(pooled[:, -2:], hidden[:, -2:])
    picture = pooled[:, before : before + windows].mean(1)
    torch.testing.assert_close(picture, hidden[:, before : before + length].mean(1))
    assert bool((moved.diff(dim=1) > 0).all())
    if stride == 1:
        assert torch.equal(pooled, hidden)
        assert torch.equal(moved, positions)


def test_a_constant_picture_stays_constant() -> None:
    pooled, _ = llavolta.pool(torch.full((1, 8, 2), 3.0), torch.arange(8)[None], [[0]], 8, 4)

    assert torch.equal(pooled, torch.full((1, 2, 2), 3.0))


def test_positions_beyond_half_precision_are_exact() -> None:
    positions = torch.arange(100_001, 100_005)[None]

    _, moved = llavolta.pool(torch.ones(1, 4, 2), positions, [[0]], 4, 2)

    assert moved.tolist() == [[100_001, 100_003]]


@pytest.mark.parametrize(
    ("starts", "length", "stride", "message"),
    [
        ([[0]], 6, 4, "stride must divide the visual length; they are 4 and 6"),
        ([[0]], 6, 0, "stride must divide"),
        ([[5]], 4, 2, "a picture of 4 tokens at 5"),
        ([[0, 3]], 4, 2, "a picture of 4 tokens at 3 overlaps"),
        ([[-1]], 4, 2, "a picture of 4 tokens at -1"),
    ],
)
def test_what_does_not_fit_is_refused(
    starts: list[list[int]], length: int, stride: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        llavolta.pool(torch.ones(1, 8, 2), torch.arange(8)[None], starts, length, stride)


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden has NaN"):
        llavolta.pool(torch.full((1, 4, 2), torch.nan), torch.arange(4)[None], [[0]], 4, 2)
