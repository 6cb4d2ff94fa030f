"""What is checked before visual tokens reach an engine; an engine would not survive any of it."""

from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saccade.encoders.base import Family, VisualLayout, VisualTokens
from saccade.encoders.positions import grid_extent, grid_positions
from saccade.encoders.published import published
from saccade.encoders.registry import ENCODERS

if TYPE_CHECKING:
    from saccade.serving.engine.handed import Receiver

pytestmark = pytest.mark.slow

MAX_POSITIONS = 4096
LLAVA = "llava-hf/llava-1.5-7b-hf"
QWEN2_5 = "Qwen/Qwen2.5-VL-7B-Instruct"
QWEN3 = "Qwen/Qwen3-VL-8B-Instruct"
# Of small pictures, so that rows of 16,384 numbers stay cheap.
GRID = (1, 3, 4)
COUNT = 12


def family_of(name: str) -> Family:
    return ENCODERS.family_of(published()[name].files, name)


def receiver(name: str) -> "Receiver":
    from saccade.serving.engine.handed import Receiver

    family = family_of(name)
    return Receiver(family, torch.float32, MAX_POSITIONS, family.uses_grid_positions)


def fine(name: str) -> VisualTokens:
    family = family_of(name)
    embeddings = torch.zeros(COUNT, family.row_size)
    if not family.uses_grid_positions:
        return VisualTokens(embeddings, None, COUNT)
    layout = VisualLayout(COUNT, GRID)
    return VisualTokens(embeddings, grid_positions(layout), grid_extent(layout))


def refused(name: str, *tokens: Any, counts: tuple[int, ...] = (COUNT,), prompt: int = 64) -> str:
    from saccade.serving.engine.handed import BadHandOverError, check_handed

    with pytest.raises(BadHandOverError) as caught:
        check_handed(counts, tokens, receiver(name), prompt)
    return str(caught.value)


@pytest.mark.parametrize("name", [LLAVA, QWEN2_5, QWEN3])
def test_what_is_in_order_passes(name: str) -> None:
    from saccade.serving.engine.handed import check_handed

    check_handed([COUNT, COUNT], [fine(name), fine(name)], receiver(name), 64)
    few = fine(name).kept(torch.tensor([0, 5, 11]))
    check_handed([3], [few], receiver(name), 64)


@pytest.mark.parametrize("name", [LLAVA, QWEN2_5, QWEN3])
@given(
    rows=st.integers(0, 2 * COUNT),
    change=st.integers(-3, 3),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool]),
    poison=st.sampled_from([0.0, float("nan"), float("inf"), float("-inf")]),
)
def test_wrong_shapes_formats_and_numbers_never_pass(
    name: str, rows: int, change: int, dtype: torch.dtype, poison: float
) -> None:
    from saccade.serving.engine.handed import BadHandOverError, check_handed

    width = family_of(name).row_size + change
    embeddings = torch.zeros(rows, width, dtype=dtype)
    if rows and dtype.is_floating_point:
        embeddings[-1, -1] = poison
    in_order = (rows, change, poison) == (COUNT, 0, 0.0) and dtype.is_floating_point
    tokens = VisualTokens(embeddings, fine(name).positions, fine(name).extent)
    try:
        check_handed([COUNT], [tokens], receiver(name), 64)
    except BadHandOverError:
        assert not in_order
    else:
        assert in_order


@pytest.mark.parametrize(
    "positions",
    [
        None,
        torch.zeros(COUNT, 2, dtype=torch.int64),
        torch.zeros(COUNT - 1, 3, dtype=torch.int64),
        torch.zeros(COUNT, 3),
        torch.full((COUNT, 3), -1),
        torch.full((COUNT, 3), 4),
    ],
)
def test_positions_that_do_not_fit_never_pass(positions: torch.Tensor | None) -> None:
    tokens = VisualTokens(fine(QWEN2_5).embeddings, positions, fine(QWEN2_5).extent)
    assert "positions" in refused(QWEN2_5, tokens)


def test_tokens_of_a_plain_sequence_have_an_extent_of_their_number() -> None:
    tokens = VisualTokens(fine(LLAVA).embeddings, None, COUNT + 1)
    assert "without positions" in refused(LLAVA, tokens)


def test_text_never_stands_beyond_the_models_last_position() -> None:
    tokens = fine(QWEN2_5)
    far = VisualTokens(tokens.embeddings, tokens.positions, MAX_POSITIONS)
    assert "position" in refused(QWEN2_5, far)


def test_each_place_needs_its_picture() -> None:
    assert "1 pictures for 2 places" in refused(LLAVA, fine(LLAVA), counts=(COUNT, COUNT))
    assert "0 pictures for 1 places" in refused(LLAVA)
