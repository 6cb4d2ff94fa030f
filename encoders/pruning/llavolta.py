"""LLaVolta's visual context compressor: average pooling along the sequence (NeurIPS 2024)."""

from collections.abc import Sequence

import torch

from saccade.encoders.pruning.checks import check_finite, check_shape


def pool(
    hidden: torch.Tensor,
    positions: torch.Tensor,
    image_starts: torch.Tensor | Sequence[Sequence[int]],
    visual_length: int,
    stride: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each picture's `visual_length` tokens averaged in windows of `stride`; text as it was.

    `hidden` [B, n, D] and `positions` [B, n] (whole numbers), with pictures beginning at
    `image_starts` [B, pictures]; out come [B, n - pictures · (visual_length - visual_length /
    stride), D] and its positions, averaged and cut off to whole numbers. Exact for any position,
    unlike an average in half precision.

    Raises `ValueError` if windows do not fit the picture, or pictures not the sequence.
    """
    check_shape("hidden", hidden, "B", "n", "D")
    check_finite(hidden=hidden)
    if positions.shape != hidden.shape[:2]:
        raise ValueError(f"positions must be {list(hidden.shape[:2])}, is {list(positions.shape)}")
    if stride < 1 or visual_length < 1 or visual_length % stride:
        raise ValueError(
            f"stride must divide the visual length; they are {stride} and {visual_length}"
        )
    starts = torch.as_tensor(image_starts, dtype=torch.int64).reshape(len(hidden), -1)
    rows = [
        _pool_row(states, places, sorted(own), visual_length, stride)
        for states, places, own in zip(hidden, positions, starts.tolist(), strict=True)
    ]
    pooled, moved = zip(*rows, strict=True)
    return torch.stack(pooled), torch.stack(moved)


def _pool_row(
    hidden: torch.Tensor, positions: torch.Tensor, starts: list[int], length: int, stride: int
) -> tuple[torch.Tensor, torch.Tensor]:
    states, places, end = [], [], 0
    for start in starts:
        if start < end or start + length > len(hidden):
            raise ValueError(
                f"a picture of {length} tokens at {start} overlaps another, "
                f"or ends behind the sequence's {len(hidden)}"
            )
        picture = slice(start, start + length)
        states += [hidden[end:start], hidden[picture].unflatten(0, (-1, stride)).mean(1)]
        windows = positions[picture].unflatten(0, (-1, stride))
        middle = windows.sum(1).div(stride, rounding_mode="trunc").to(positions.dtype)
        places += [positions[end:start], middle]
        end = start + length
    return torch.cat([*states, hidden[end:]]), torch.cat([*places, positions[end:]])
