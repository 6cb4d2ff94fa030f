"""LLaVA-1.5: a CLIP tower, a two-layer projector, one square per picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saccade.encoders.base import TOWER_VIEW, Block, Support, VisualLayout
from saccade.encoders.towers import SquareTowerFamily, cut_after_feature_layer

if TYPE_CHECKING:
    import torch

    from saccade.encoders.checkpoint import CheckpointFiles


class Llava(SquareTowerFamily):
    name = "LLaVA-1.5"
    architectures = ("LlavaForConditionalGeneration",)
    support = Support(pictures=True, video=False, exposes=TOWER_VIEW)
    weights = ("vision_tower.", "multi_modal_projector.")
    tower = "clip_vision_model"

    def __init__(self, files: CheckpointFiles) -> None:
        super().__init__(files)
        strategy = self._refuse_strategies_but("default", "full")
        class_tokens = 1 if strategy == "full" else 0
        block = Block(self.side, self.side)
        self._layout = VisualLayout(
            block.num_tokens + class_tokens, blocks=(block,), num_leading=class_tokens
        )

    def picture(self, width: int, height: int) -> VisualLayout:
        """The same for all pictures."""
        return self._layout

    def vision_config(self, config: Any) -> None:
        cut_after_feature_layer(config)

    def encode(
        self, model: Any, kind: str, batch: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        tokens: Sequence[torch.Tensor] = model.get_image_features(
            batch["pixel_values"]
        ).pooler_output
        return tokens
