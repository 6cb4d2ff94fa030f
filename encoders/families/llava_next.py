"""LLaVA-NeXT (1.6): LLaVA on tiles of any resolution, with a newline after each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saccade.encoders.base import TOWER_VIEW, Support, VisualLayout
from saccade.encoders.tiles import best_resolution, tile_resolutions, unpadded_grid
from saccade.encoders.towers import (
    SquareTowerFamily,
    cut_after_feature_layer,
    tiles_of_one,
)

if TYPE_CHECKING:
    import torch

    from saccade.encoders.checkpoint import CheckpointFiles


class LlavaNext(SquareTowerFamily):
    name = "LLaVA-NeXT"
    architectures = ("LlavaNextForConditionalGeneration",)
    support = Support(pictures=True, video=False, exposes=TOWER_VIEW)
    weights = ("vision_tower.", "multi_modal_projector.", "image_newline")
    tower = "clip_vision_model"

    def __init__(self, files: CheckpointFiles) -> None:
        super().__init__(files)
        self._refuse_strategies_but("default")
        self._resolutions = tile_resolutions(files, self.tile_size)

    def picture(self, width: int, height: int) -> VisualLayout:
        tall, wide = best_resolution(width, height, self._resolutions)
        rows, columns = unpadded_grid(
            width, height, tall // self.tile_size * self.side, wide // self.tile_size * self.side
        )
        return VisualLayout.tiled(self.side, rows, columns)

    def vision_config(self, config: Any) -> None:
        cut_after_feature_layer(config)

    def tensors(self, kind: str, processed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return tiles_of_one(processed)

    def encode(
        self, model: Any, kind: str, batch: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        tokens: Sequence[torch.Tensor] = model.get_image_features(
            batch["pixel_values"], batch["image_sizes"]
        ).pooler_output
        return tokens

    def per_token(
        self,
        model: Any,
        kind: str,
        batch: Mapping[str, torch.Tensor],
        num_rows: Sequence[int],
        seen: torch.Tensor,
    ) -> Sequence[torch.Tensor]:
        packed: Sequence[torch.Tensor]
        packed, _ = model.pack_image_features(
            seen.split(list(num_rows)),
            batch["image_sizes"],
            vision_feature_select_strategy="default",
            image_newline=seen.new_zeros(seen.shape[-1]),
        )
        return packed
