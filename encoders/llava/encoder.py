"""The vision half of a LLaVA-1.5 checkpoint, as transformers computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL.Image import Image
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlavaConfig,
)
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from saccade.encoders.base import (
    BrokenOutputError,
    UnsupportedCheckpointError,
    UnsupportedPictureError,
    VisionEncoder,
)
from saccade.encoders.weights import read_tensors, tensor_names


class LlavaEncoder(VisionEncoder):
    """`tower` has only the layers up to the one that feeds `projector`, as in vLLM."""

    def __init__(
        self,
        processor: Any,
        tower: nn.Module,
        projector: nn.Module,
        *,
        hidden_size: int,
        drop_class_token: bool,
    ) -> None:
        self._processor = processor
        self._tower = tower
        self._projector = projector
        self._hidden_size = hidden_size
        self._drop_class_token = drop_class_token

    @classmethod
    def from_checkpoint(cls, checkpoint: Path, device: torch.device, dtype: torch.dtype) -> Self:
        """Raises `UnsupportedCheckpointError` if the checkpoint is not of LLaVA-1.5's kind."""
        config: Any = AutoConfig.from_pretrained(checkpoint)
        _check(config)
        tower, projector = _make_tower(config), LlavaMultiModalProjector(config)
        # Hub checkpoints have the bare names; what newer transformers save begins with "model.".
        root = "model." if any(n.startswith("model.") for n in tensor_names(checkpoint)) else ""
        prefixes = (f"{root}vision_tower.", f"{root}multi_modal_projector.")
        tensors = read_tensors(checkpoint, prefixes)
        try:
            _fill_tower(tower, _below(tensors, prefixes[0]))
            projector.load_state_dict(_below(tensors, prefixes[1]))
        except RuntimeError as error:  # names or shapes that do not fit; torch lists them
            raise UnsupportedCheckpointError(f"{checkpoint}: {error}") from error
        return cls(
            AutoImageProcessor.from_pretrained(checkpoint),
            tower.to(device, dtype).eval(),
            projector.to(device, dtype).eval(),
            hidden_size=config.text_config.hidden_size,
            drop_class_token=config.vision_feature_select_strategy == "default",
        )

    @property
    def hidden_size(self) -> int:
        return self._hidden_size

    def preprocess(self, images: Sequence[Image]) -> torch.Tensor:
        for image in images:
            if image.mode != "RGB":
                raise UnsupportedPictureError(f"a picture is {image.mode}, it has to be RGB")
        pixels: torch.Tensor = self._processor(list(images), return_tensors="pt")["pixel_values"]
        return pixels

    @torch.inference_mode()
    def encode(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        like = next(self._projector.parameters())
        hidden = self._tower(pixels.to(like.device, like.dtype)).last_hidden_state
        if self._drop_class_token:
            hidden = hidden[:, 1:]
        tokens = self._projector(hidden)
        if not torch.isfinite(tokens).all():
            raise BrokenOutputError("the encoder made visual tokens that are not finite")
        # A view would take the whole batch along when it is sent somewhere.
        return [picture.clone() for picture in tokens]


def _check(config: Any) -> None:
    if not isinstance(config, LlavaConfig) or not isinstance(
        config.vision_config, CLIPVisionConfig
    ):
        raise UnsupportedCheckpointError("this is not a LLaVA checkpoint with a CLIP vision tower")
    if not isinstance(config.vision_feature_layer, int):
        raise UnsupportedCheckpointError(
            f"vision_feature_layer has to be one layer, not {config.vision_feature_layer}"
        )


def _make_tower(config: Any) -> nn.Module:
    sizes = config.vision_config.to_dict()
    layer = config.vision_feature_layer
    num_layers = layer if layer >= 0 else sizes["num_hidden_layers"] + layer + 1
    return CLIPVisionModel(CLIPVisionConfig(**{**sizes, "num_hidden_layers": num_layers}))


def _fill_tower(tower: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    expected = tower.state_dict()
    tensors = _below(tensors, "vision_model.") or tensors
    tower.load_state_dict({name: tensors[name] for name in tensors if name in expected})


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
