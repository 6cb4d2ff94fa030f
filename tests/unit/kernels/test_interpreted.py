"""Each Triton kernel computes what its reference computes; without a GPU in Triton's interpreter.

Shapes are small, since the interpreter is slow, and odd: no power of two, one token, all tokens.
"""

from importlib import import_module
from typing import Any

import pytest
import torch

from tests.unit.kernels.drawn import SELECTIONS, doubled, normal, relevance

pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel forgets to write is NaN, or an index out of range."""
    empty = torch.empty

    def poisoned_empty(*args: Any, **options: Any) -> torch.Tensor:
        made = empty(*args, **options)
        return made.fill_(torch.nan if made.is_floating_point() else -(10**6))

    monkeypatch.setattr(torch, "empty", poisoned_empty)


def both(folder: str, *args: Any) -> tuple[Any, Any]:
    """What kernel and reference make of copies of the same arguments."""
    return tuple(
        getattr(import_module(f"saccade.kernels.{folder}.{module}"), folder)(
            *(arg.clone().to(DEVICE) if isinstance(arg, torch.Tensor) else arg for arg in args)
        )
        for module in ("triton_kernel", "reference")
    )


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_conditional_dpp_chooses_as_its_reference(name: str) -> None:
    tokens, keep = SELECTIONS[name]

    found, expected = both("conditional_dpp", tokens, relevance(*tokens.shape[:2]), keep)

    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "tokens", [normal(1, 30, 4), torch.zeros(1, 9, 4)], ids=["low rank", "zeros"]
)
def test_the_conditional_dpp_goes_on_by_relevance_when_directions_are_spent(
    tokens: torch.Tensor,
) -> None:
    given = relevance(*tokens.shape[:2])

    found, expected = both("conditional_dpp", tokens, given, tokens.shape[1])

    assert torch.equal(found, expected)


def test_constant_relevance_leaves_diversity() -> None:
    found, expected = both("conditional_dpp", normal(1, 19, 32), torch.ones(1, 19), 6)

    assert torch.equal(found, expected)
    assert found[0, 0] == 0


@pytest.mark.parametrize("name", SELECTIONS)
def test_farthest_points_are_those_of_the_reference(name: str) -> None:
    tokens, keep = SELECTIONS[name]
    if name in ("doubles", "one token"):
        # Which of two equal ones comes first hangs on rounding.
        keep = min(keep, tokens.shape[1] // 2) or 1

    found, expected = both("farthest_points", tokens, keep)

    assert torch.equal(found, expected)


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 1, 1), (5, 17, 33), (3, 16, 200)], ids=str)
def test_frames_are_as_similar_as_for_the_reference(shape: tuple[int, ...]) -> None:
    found, expected = both("frame_similarity", normal(*shape))

    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_frame_of_zeros_is_similar_to_nothing() -> None:
    found, expected = both("frame_similarity", torch.zeros(2, 3, 4))

    assert torch.equal(found, expected)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 19, 33), (1, 40, 5)], ids=str)
@pytest.mark.parametrize("k", [1, 5])
def test_density_peaks_are_those_of_the_reference(shape: tuple[int, ...], k: int) -> None:
    found, expected = both("density_peaks", normal(*shape), min(k, shape[1]))

    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)


def test_of_doubles_the_second_is_no_peak() -> None:
    found, expected = both("density_peaks", doubled(normal(1, 6, 5)), 3)

    assert torch.equal(found[1][0, 6:].cpu(), torch.zeros(6))
    torch.testing.assert_close(found[1], expected[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("width", [1, 33, 130])
def test_members_are_merged_as_by_the_reference(beta: float, width: int) -> None:
    centres = torch.tensor([[0, 4, 10], [1, 2, 3]])
    owner = torch.randint(-1, 2, (2, 11), generator=torch.Generator().manual_seed(2))
    # The last centre has no members.
    owner.scatter_(1, centres, torch.arange(3).expand(2, -1))

    found, expected = both("merge_members", normal(2, 11, width), centres, owner, beta)

    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
