"""How many visual tokens LLaVA makes of a picture: always the same number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from saccade.encoders.base import UnsupportedCheckpointError

# Published checkpoints leave out what equals the default of their language model's own class.
DEFAULT_HIDDEN_SIZES = {"llama": 4096, "mistral": 4096}


@dataclass(frozen=True)
class LlavaTokenCounter:
    num_tokens: int
    hidden_size: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Raises `UnsupportedCheckpointError` where the configuration is not LLaVA-1.5's."""
        vision = config.get("vision_config") or {}
        if vision.get("model_type", "clip_vision_model") != "clip_vision_model":
            raise UnsupportedCheckpointError(
                f"the vision tower of a LLaVA checkpoint has to be CLIP, not {vision['model_type']}"
            )
        try:
            side = int(vision["image_size"]) // int(vision["patch_size"])
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise UnsupportedCheckpointError(
                f"vision_config gives no image_size and patch_size: {error!r}"
            ) from error
        strategy = config.get("vision_feature_select_strategy", "default")
        if strategy not in ("default", "full"):
            raise UnsupportedCheckpointError(
                f"vision_feature_select_strategy has to be default or full, not {strategy}"
            )
        class_tokens = 1 if strategy == "full" else 0
        return cls(side * side + class_tokens, _hidden_size(config.get("text_config") or {}))

    def num_visual_tokens(self, width: int, height: int) -> int:
        return self.num_tokens


def _hidden_size(text: Mapping[str, Any]) -> int:
    model_type = text.get("model_type", "llama")
    size = text.get("hidden_size", DEFAULT_HIDDEN_SIZES.get(model_type))
    if size is None:
        raise UnsupportedCheckpointError(
            f"text_config gives no hidden_size, and the default of {model_type} is not known"
        )
    return int(size)
