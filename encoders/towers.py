"""What the LLaVA families have in common: a tower that sees squares, and a projector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from saccade.encoders.base import Family, UnsupportedCheckpointError

if TYPE_CHECKING:
    import torch

    from saccade.encoders.checkpoint import CheckpointFiles
    from saccade.encoders.views import Watched


class SquareTowerFamily(Family):
    """A CLIP or SigLIP tower on squares of `tile_size` pixels with `side` x `side` patches."""

    tower: ClassVar[str]
    """The `model_type` that the vision tower has to be of."""

    def __init__(self, files: CheckpointFiles) -> None:
        super().__init__(files)
        model_type = files.vision.get("model_type", "clip_vision_model")
        if model_type != self.tower:
            raise UnsupportedCheckpointError(
                f"the vision tower of a {self.name} checkpoint has to be {self.tower}, "
                f"not {model_type}"
            )
        layer = files.config.get("vision_feature_layer", -2)
        if not isinstance(layer, int):
            raise UnsupportedCheckpointError(
                f"vision_feature_layer has to be one layer, not {layer}"
            )
        self.tile_size = files.number("vision", "image_size")
        self.side = self.tile_size // files.number("vision", "patch_size")

    @property
    def patches_per_row(self) -> int:
        return self.side**2

    def watching(self, model: Any) -> AbstractContextManager[Watched]:
        from saccade.encoders.views import watching_squares

        return watching_squares(model)

    def per_token(
        self,
        model: Any,
        kind: str,
        batch: Mapping[str, torch.Tensor],
        num_rows: Sequence[int],
        seen: torch.Tensor,
    ) -> Sequence[torch.Tensor]:
        """One square to a picture; families with tiles pack them as their model does."""
        return list(seen)

    def _refuse_strategies_but(self, *allowed: str) -> str:
        strategy = str(self.files.config.get("vision_feature_select_strategy", "default"))
        if strategy not in allowed:
            raise UnsupportedCheckpointError(
                f"vision_feature_select_strategy has to be {' or '.join(allowed)}, not {strategy}"
            )
        return strategy


def tiles_of_one(processed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of one tiled picture: [tiles, 3, H, W] and [1, 2] (height, width)."""
    return {"pixel_values": processed["pixel_values"][0], "image_sizes": processed["image_sizes"]}


def cut_after_feature_layer(config: Any) -> None:
    """Leave out the layers of a CLIP tower above the one that feeds the projector, as vLLM does."""
    layer, vision = config.vision_feature_layer, config.vision_config
    vision.num_hidden_layers = layer if layer >= 0 else vision.num_hidden_layers + layer + 1
    config.vision_feature_layer = -1
