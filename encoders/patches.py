"""What the Qwen-VL families have in common: pictures of any proportions, as a grid of patches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from saccade.encoders.base import (
    Family,
    UnsupportedCheckpointError,
    UnsupportedSizeError,
    VisualLayout,
)

if TYPE_CHECKING:
    import torch

    from saccade.encoders.checkpoint import CheckpointFiles, Json
    from saccade.encoders.views import Watched

# More than this, and the checkpoints' own processors refuse a picture.
MAX_ASPECT_RATIO = 200
# Patches to a side of a visual token, in all published checkpoints; placeholders count on it.
MERGE = 2
# Of the processors' class, where a checkpoint states none.
MIN_PIXELS, MAX_PIXELS = 56 * 56, 28 * 28 * 1280


class PatchGridFamily(Family):
    """`merge` x `merge` patches make one visual token; `temporal` frames one step in time."""

    weights = ("visual.",)
    default_video_limits: ClassVar[tuple[int, int]]
    """Fewest and most pixels, of the video processor's class, where a checkpoint states none."""

    def __init__(self, files: CheckpointFiles) -> None:
        super().__init__(files)
        self._patch = files.number("vision", "patch_size")
        self._merge = files.number("vision", "spatial_merge_size", 2)
        if self._merge != MERGE:
            raise UnsupportedCheckpointError(
                f"spatial_merge_size has to be {MERGE}, not {self._merge}"
            )
        self._temporal = files.number("vision", "temporal_patch_size", 2)
        expected = {
            "patch_size": self._patch,
            "merge_size": self._merge,
            "temporal_patch_size": self._temporal,
        }
        for name, value in expected.items():
            stated = files.image_processor.get(name, value)
            if stated != value:
                raise UnsupportedCheckpointError(
                    f"the image processor's {name} is {stated}, the vision tower's is {value}"
                )
        self._limits = _pixel_limits(files.image_processor, (MIN_PIXELS, MAX_PIXELS))
        self._video_limits = _pixel_limits(files.video_processor, self.default_video_limits)
        if files.video_processor.get("cap_pixels_per_frame"):
            raise UnsupportedCheckpointError(
                "the video processor's cap_pixels_per_frame has to be false: vLLM does not count so"
            )

    @property
    def uses_grid_positions(self) -> bool:
        return True

    def picture(self, width: int, height: int) -> VisualLayout:
        rows, columns = self._grid(width, height, self._limits)
        return VisualLayout.stepped((1, rows, columns))

    def tensors(self, kind: str, processed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if kind == "video":
            return {
                "pixel_values": processed["pixel_values_videos"],
                "grid": processed["video_grid_thw"],
            }
        return {"pixel_values": processed["pixel_values"], "grid": processed["image_grid_thw"]}

    def watching(self, model: Any) -> AbstractContextManager[Watched]:
        from saccade.encoders.views import watching_patches

        return watching_patches(model)

    def per_token(
        self,
        model: Any,
        kind: str,
        batch: Mapping[str, torch.Tensor],
        num_rows: Sequence[int],
        seen: torch.Tensor,
    ) -> Sequence[torch.Tensor]:
        cell = self._merge**2
        tokens = seen.unflatten(0, (-1, cell)).mean(1)
        sizes = [num // cell for num in num_rows]
        # torch leaves `split` without types.
        parts: Sequence[torch.Tensor] = tokens[self.token_order(batch["grid"])].split(sizes)
        return parts

    def token_order(self, grid: torch.Tensor) -> Any:
        """Where each token of a batch stands while the tower works: by default where it ends."""
        del grid
        return slice(None)

    def _clip_grid(self, width: int, height: int, num_frames: int) -> tuple[int, int, int]:
        rows, columns = self._grid(width, height, self._video_limits)
        return math.ceil(num_frames / self._temporal), rows, columns

    def _grid(
        self, width: int, height: int, limits: tuple[int, int], *, num_frames: int = 1
    ) -> tuple[int, int]:
        """Rows and columns of visual tokens, rounded as the processors do.

        The limits hold for the pixels of all `num_frames` together.
        """
        if max(width, height) / min(width, height) > MAX_ASPECT_RATIO:
            raise UnsupportedSizeError(
                f"a picture of {width} x {height} is more than {MAX_ASPECT_RATIO} times as long "
                "as it is wide"
            )
        cell = self._patch * self._merge
        least, most = limits
        rows, columns = round(height / cell), round(width / cell)
        whole = 1 if num_frames == 1 else round(num_frames / self._temporal) * self._temporal
        if whole * rows * columns * cell**2 > most:
            shrink = math.sqrt(num_frames * height * width / most)
            rows = max(1, math.floor(height / shrink / cell))
            columns = max(1, math.floor(width / shrink / cell))
        elif whole * rows * columns * cell**2 < least:
            grow = math.sqrt(least / (num_frames * height * width))
            rows, columns = math.ceil(height * grow / cell), math.ceil(width * grow / cell)
        return rows, columns


def _pixel_limits(processor: Json, default: tuple[int, int]) -> tuple[int, int]:
    """Fewest and most pixels of a picture after resizing."""
    size: Mapping[str, Any] = processor.get("size") or {}
    least = processor.get("min_pixels") or size.get("shortest_edge") or default[0]
    most = processor.get("max_pixels") or size.get("longest_edge") or default[1]
    if not (isinstance(least, int) and isinstance(most, int) and 0 < least <= most):
        raise UnsupportedCheckpointError(
            f"the processor's limits in pixels are of no use: at least {least}, at most {most}"
        )
    return least, most
