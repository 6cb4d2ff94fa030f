"""Where visual tokens stand in a language model that rotates by (time, row, column)."""

import math

import torch

from saccade.encoders.base import VisualLayout


def grid_positions(layout: VisualLayout) -> torch.Tensor:
    """[n, 3] whole numbers from 0, in the order of the tokens: time slowest, column fastest.

    The step in time is scaled and cut off as vLLM does (M-RoPE of Qwen2.5-VL, section 2.1).
    """
    assert layout.grid is not None
    times, rows, columns = (torch.arange(size) for size in layout.grid)
    times = (times.double() * layout.time_scale).long()
    return torch.cartesian_prod(times, rows, columns).reshape(-1, 3)


def grid_extent(layout: VisualLayout) -> int:
    """One more than the largest position of the unpruned grid: where text goes on.

    Where steps stand apart, text goes on behind each, and each has the same extent.
    """
    assert layout.grid is not None
    steps, rows, columns = layout.grid
    if layout.apart:
        return max(rows, columns)
    return max(math.floor((steps - 1) * layout.time_scale), rows - 1, columns - 1) + 1
