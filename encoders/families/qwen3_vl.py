"""Qwen3-VL: M-RoPE, features of several layers of the tower for several of the LLM's, and clips
whose steps stand apart in the prompt, each behind its time in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saccade.encoders.base import TOWER_VIEW, Support, VisualLayout
from saccade.encoders.patches import PatchGridFamily

if TYPE_CHECKING:
    import torch

    from saccade.encoders.checkpoint import CheckpointFiles


class Qwen3VL(PatchGridFamily):
    name = "Qwen3-VL"
    architectures = ("Qwen3VLForConditionalGeneration",)
    support = Support(pictures=True, video=True, exposes=TOWER_VIEW)
    default_video_limits = (128 * 32 * 32, 768 * 32 * 32)

    def __init__(self, files: CheckpointFiles) -> None:
        super().__init__(files)
        self._num_levels = len(files.vision.get("deepstack_visual_indexes") or ())

    @property
    def row_size(self) -> int:
        """The features for the first layer, then those that are added after the next ones."""
        return self.hidden_size * (1 + self._num_levels)

    @property
    def min_frames(self) -> int:
        """The processor refuses less than one step."""
        return self._temporal

    def clip(self, width: int, height: int, num_frames: int, frames_per_s: float) -> VisualLayout:
        grid = self._clip_grid(width, height, max(num_frames, self._temporal))
        return VisualLayout.stepped(grid, apart=True)

    def stamps_s(self, times_s: Sequence[float]) -> tuple[float, ...]:
        """In the middle between the first and the last frame of each step."""
        missing = -len(times_s) % self._temporal
        times = [*times_s, *[times_s[-1]] * missing]
        firsts, lasts = times[:: self._temporal], times[self._temporal - 1 :: self._temporal]
        return tuple((first + last) / 2 for first, last in zip(firsts, lasts, strict=True))

    def _clip_grid(self, width: int, height: int, num_frames: int) -> tuple[int, int, int]:
        """The processor lengthens a side that is shorter than a token first."""
        cell = self._patch * self._merge
        if min(width, height) < cell:
            scale = max(cell / height, cell / width)
            width, height = int(width * scale), int(height * scale)
        rows, columns = self._grid(width, height, self._video_limits, num_frames=num_frames)
        return math.ceil(num_frames / self._temporal), rows, columns

    def encode(
        self, model: Any, kind: str, batch: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        import torch

        # Pictures and clips alike: a picture is one step in time.
        output = model.get_image_features(batch["pixel_values"], batch["grid"])
        levels = (output.pooler_output, *output.deepstack_features)
        return [torch.cat(features, dim=1) for features in zip(*levels, strict=True)]
