import torch
from hypothesis import given
from hypothesis import strategies as st

from saccade.encoders.base import VisualLayout, VisualTokens
from saccade.encoders.positions import grid_extent, grid_positions

sizes = st.integers(1, 6)


@given(steps=sizes, rows=sizes, columns=sizes, time_scale=st.floats(0.1, 20))
def test_time_is_slowest_and_the_column_fastest(
    steps: int, rows: int, columns: int, time_scale: float
) -> None:
    layout = VisualLayout(steps * rows * columns, (steps, rows, columns), time_scale)
    expected = [
        [int(step * time_scale), row, column]
        for step in range(steps)
        for row in range(rows)
        for column in range(columns)
    ]
    assert grid_positions(layout).tolist() == expected
    assert grid_extent(layout) == max(max(position) for position in expected) + 1


def test_steps_that_stand_apart_are_counted_and_have_an_extent_each() -> None:
    layout = VisualLayout.stepped((3, 1, 2), apart=True)
    whole = VisualTokens(torch.zeros(6, 1), grid_positions(layout), grid_extent(layout), 3)

    assert whole.step_counts == (2, 2, 2)
    assert whole.extent == 2
    assert whole.kept(torch.tensor([1, 4, 5])).step_counts == (1, 0, 2)
    assert VisualTokens(torch.zeros(6, 1), None, 6).step_counts == ()


def test_kept_tokens_keep_their_positions_and_the_extent() -> None:
    layout = VisualLayout(12, (1, 3, 4))
    whole = VisualTokens(torch.arange(12.0)[:, None], grid_positions(layout), grid_extent(layout))

    kept = whole.kept(torch.tensor([0, 5, 11]))

    assert kept.embeddings.flatten().tolist() == [0, 5, 11]
    assert kept.positions is not None
    assert kept.positions.tolist() == [[0, 0, 0], [0, 1, 1], [0, 2, 3]]
    assert kept.extent == whole.extent == 4


def test_tokens_of_a_plain_sequence_keep_their_index() -> None:
    whole = VisualTokens(torch.zeros(10, 1), None, 10)

    twice = whole.kept(torch.tensor([1, 4, 7])).kept(torch.tensor([0, 2]))

    assert twice.positions is not None
    assert twice.positions.tolist() == [[1, 1, 1], [7, 7, 7]]
    assert twice.extent == 10
