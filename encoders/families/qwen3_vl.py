"""Qwen3-VL: M-RoPE, and features of several layers of the tower for several of the LLM's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saccade.encoders.base import TOWER_VIEW, Support
from saccade.encoders.patches import PatchGridFamily

if TYPE_CHECKING:
    import torch

    from saccade.encoders.checkpoint import CheckpointFiles


class Qwen3VL(PatchGridFamily):
    """No video: its prompt has a time stamp in words between the frames of a clip."""

    name = "Qwen3-VL"
    architectures = ("Qwen3VLForConditionalGeneration",)
    support = Support(pictures=True, video=False, exposes=TOWER_VIEW)

    def __init__(self, files: CheckpointFiles) -> None:
        super().__init__(files)
        self._num_levels = len(files.vision.get("deepstack_visual_indexes") or ())

    @property
    def row_size(self) -> int:
        """The features for the first layer, then those that are added after the next ones."""
        return self.hidden_size * (1 + self._num_levels)

    def encode(
        self, model: Any, kind: str, batch: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        import torch

        output = model.get_image_features(batch["pixel_values"], batch["grid"])
        levels = (output.pooler_output, *output.deepstack_features)
        return [torch.cat(features, dim=1) for features in zip(*levels, strict=True)]
