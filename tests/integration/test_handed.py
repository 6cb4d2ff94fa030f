"""What is checked before visual tokens reach an engine; an engine would not survive any of it."""

from itertools import accumulate
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
    from saccade.serving.transport.instance_pb2 import VisualSpan

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


def spans(*counts: int) -> "list[VisualSpan]":
    """Of pictures one after the other."""
    from saccade.serving.engine.spans import visual_span

    begins = accumulate(counts, initial=0)
    return [visual_span([place], "") for place in zip(begins, counts, strict=False)]


def refused(name: str, *tokens: Any, counts: tuple[int, ...] = (COUNT,), prompt: int = 64) -> str:
    return refused_in(name, spans(*counts), *tokens, prompt=prompt)


def refused_in(name: str, found: "list[VisualSpan]", *tokens: Any, prompt: int = 64) -> str:
    from saccade.serving.engine.handed import BadHandOverError, check_handed

    with pytest.raises(BadHandOverError) as caught:
        check_handed(found, tokens, receiver(name), prompt)
    return str(caught.value)


@pytest.mark.parametrize("name", [LLAVA, QWEN2_5, QWEN3])
def test_what_is_in_order_passes(name: str) -> None:
    from saccade.serving.engine.handed import check_handed

    check_handed(spans(COUNT, COUNT), [fine(name), fine(name)], receiver(name), 64)
    few = fine(name).kept(torch.tensor([0, 5, 11]))
    check_handed(spans(3), [few], receiver(name), 64)


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
        check_handed(spans(COUNT), [tokens], receiver(name), 64)
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


# Two steps of 1 x 3 cells, of which the first has lost one token, with words between them.
STEPPED = [(4, 2), (9, 3)]


def stepped() -> VisualTokens:
    layout = VisualLayout.stepped((2, 1, 3), apart=True)
    embeddings = torch.zeros(6, family_of(QWEN3).row_size)
    whole = VisualTokens(embeddings, grid_positions(layout), grid_extent(layout), 2)
    return whole.kept(torch.tensor([0, 2, 3, 4, 5]))


def test_a_step_stands_on_where_the_words_before_it_were() -> None:
    from saccade.serving.engine.handed import check_handed, span_positions
    from saccade.serving.engine.spans import visual_span

    span = visual_span(STEPPED, "")
    check_handed([span], [stepped()], receiver(QWEN3), 64)
    positions, extent = span_positions(span, stepped())
    # Three columns of the first step, then words from 3 on, and the second from 6 on.
    assert positions.tolist() == [
        [0, 0, 0], [0, 0, 2], [3, 3, 3], [4, 4, 4], [5, 5, 5], [6, 6, 6], [6, 6, 7], [6, 6, 8],
    ]  # fmt: skip
    assert extent == 9


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        ([(4, 5)], "2 steps that stand apart for 1 places"),
        ([(4, 3), (9, 2)], "steps of (2, 3) tokens for places of (3, 2)"),
        ([(4, 2), (9, 2), (13, 1)], "2 steps that stand apart for 3 places"),
        ([(4, 2), (5, 3)], "places that overlap"),
        ([(60, 2), (65, 3)], "places up to 68 in a prompt of 64 tokens"),
        ([(4, 2), (9, 4)], "visual tokens of shape"),
    ],
)
def test_steps_never_pass_in_other_places(places: list[tuple[int, int]], reason: str) -> None:
    from saccade.serving.engine.spans import visual_span

    assert reason in refused_in(QWEN3, [visual_span(places, "")], stepped())


def test_steps_out_of_order_never_pass() -> None:
    from saccade.serving.engine.spans import visual_span

    tokens = stepped()
    assert tokens.positions is not None
    positions = tokens.positions.clone()
    positions[:, 0] = torch.tensor([1, 1, 1, 0, 0])
    mixed = VisualTokens(tokens.embeddings, positions, tokens.extent, 2)
    assert "steps of" in refused_in(QWEN3, [visual_span(STEPPED, "")], mixed)
