"""Qwen2.5-VL: windowed attention over a grid of patches, M-RoPE, pictures and video."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saccade.encoders.base import TOWER_VIEW, Support, VisualLayout
from saccade.encoders.patches import PatchGridFamily

if TYPE_CHECKING:
    import torch

    from saccade.encoders.checkpoint import CheckpointFiles


class Qwen25VL(PatchGridFamily):
    name = "Qwen2.5-VL"
    architectures = ("Qwen2_5_VLForConditionalGeneration",)
    support = Support(pictures=True, video=True, exposes=TOWER_VIEW)
    default_video_limits = (128 * 28 * 28, 768 * 28 * 28)

    def __init__(self, files: CheckpointFiles) -> None:
        super().__init__(files)
        self._tokens_per_second = float(files.vision.get("tokens_per_second", 4))

    def clip(self, width: int, height: int, num_frames: int, frames_per_s: float) -> VisualLayout:
        grid = self._clip_grid(width, height, num_frames)
        # Stock vLLM keeps the seconds in 32 bits, and what it cuts off depends on it.
        (seconds,) = struct.unpack("f", struct.pack("f", self._temporal / frames_per_s))
        return VisualLayout.stepped(grid, seconds * self._tokens_per_second)

    def encode(
        self, model: Any, kind: str, batch: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        tokens: Sequence[torch.Tensor] = model.get_image_features(
            batch["pixel_values"], batch["grid"]
        ).pooler_output
        return tokens

    def token_order(self, grid: torch.Tensor) -> Any:
        """The tower sorts tokens by window."""
        from transformers.vision_utils import get_vision_window_index

        index, _ = get_vision_window_index(
            grid,
            spatial_merge_size=self._merge,
            window_size=self.files.number("vision", "window_size", 112),
            patch_size=self._patch,
            kwargs={},
        )
        return index.argsort()
