"""Arithmetic of pictures that are cut into square tiles (any resolution, "anyres").

A picture is fitted into the best of the listed resolutions, cut into tiles, and seen once more as
a whole. Of the tiles' visual tokens those on padding are dropped, and each row ends in a newline.
The rounding is that of transformers and vLLM, to the last bit.
"""

import math
from collections.abc import Sequence
from typing import Any

from saccade.encoders.base import UnsupportedCheckpointError, UnsupportedSizeError
from saccade.encoders.checkpoint import CheckpointFiles

Resolution = tuple[int, int]
"""Height and width, as checkpoints list them."""


def best_resolution(width: int, height: int, choices: Sequence[Resolution]) -> Resolution:
    """The one that keeps most of the picture's pixels, and of those the one that wastes least.

    Raises `UnsupportedSizeError` where none keeps a pixel (a line of some thousand pixels).
    """
    best: Resolution | None = None
    most_kept, least_wasted = 0, math.inf
    for tall, wide in choices:
        scale = min(wide / width, tall / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        wasted = wide * tall - kept
        if kept > most_kept or (kept == most_kept and wasted < least_wasted):
            best, most_kept, least_wasted = (tall, wide), kept, wasted
    if best is None:
        raise UnsupportedSizeError(f"a picture of {width} x {height} is too narrow for the model")
    return best


def unpadded_grid(width: int, height: int, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of visual tokens that show the picture, of those of all tiles together."""
    if width / height > columns / rows:
        shown = int(round(height * (columns / width), 7))
        return rows - (rows - shown) // 2 * 2, columns
    shown = int(round(width * (rows / height), 7))
    return rows, columns - (columns - shown) // 2 * 2


def tile_resolutions(files: CheckpointFiles, tile_size: int) -> list[Resolution]:
    """The resolutions that pictures are fitted into.

    Raises `UnsupportedCheckpointError` if they are missing or no whole number of tiles, or if the
    processor, which cuts, has others than the model, which counts.
    """
    listed = files.config.get("image_grid_pinpoints")
    if listed is None or not _is_list_of_pairs(listed):
        raise UnsupportedCheckpointError(
            f"config.json gives no usable image_grid_pinpoints: {listed!r}"
        )
    choices = [(int(tall), int(wide)) for tall, wide in listed]
    if any(side < tile_size or side % tile_size for pair in choices for side in pair):
        raise UnsupportedCheckpointError(
            f"image_grid_pinpoints have to be multiples of the tile's {tile_size} pixels"
        )
    of_processor = files.image_processor.get("image_grid_pinpoints")
    if of_processor is not None and of_processor != listed:
        raise UnsupportedCheckpointError(
            "image_grid_pinpoints in config.json differ from those of the image processor"
        )
    return choices


def _is_list_of_pairs(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in value)
    )
