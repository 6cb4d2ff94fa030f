"""The vision half of a checkpoint, as transformers computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL.Image import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoVideoProcessor
from transformers.initialization import no_init_weights

from saccade.encoders.base import (
    BrokenOutputError,
    Family,
    Prepared,
    UnsupportedCheckpointError,
    UnsupportedPictureError,
    VisionEncoder,
    VisualLayout,
    VisualTokens,
)
from saccade.encoders.positions import grid_extent, grid_positions
from saccade.encoders.views import TowerView, views_of
from saccade.encoders.weights import read_tensors, vision_prefixes


class TransformersEncoder(VisionEncoder):
    """`model` is the family's own, less its language model."""

    def __init__(
        self, family: Family, model: Any, image_processor: Any, video_processor: Any
    ) -> None:
        self._family = family
        self._model = model
        self._image_processor = image_processor
        self._video_processor = video_processor

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Path, family: Family, device: torch.device, dtype: torch.dtype
    ) -> Self:
        """Reads the tower and the projector, and nothing of the language model.

        Raises `UnsupportedCheckpointError` if a tensor is missing or has another shape.
        """
        model = _empty_model(checkpoint, family, dtype)
        _fill(model, checkpoint, family)
        return cls(
            family,
            model.to(device).eval(),
            AutoImageProcessor.from_pretrained(checkpoint),
            AutoVideoProcessor.from_pretrained(checkpoint) if family.support.video else None,
        )

    @property
    def family(self) -> Family:
        return self._family

    def preprocess(self, image: Image) -> Prepared:
        _refuse_all_but_rgb([image])
        processed = self._image_processor([image], return_tensors="pt")
        return self._prepared("image", processed, self._family.picture(*image.size))

    def preprocess_clip(self, frames: Sequence[Image], frames_per_s: float) -> Prepared:
        _refuse_all_but_rgb(frames)
        missing = max(0, self._family.min_frames - len(frames))
        shown = [*frames, *[frames[-1]] * missing]
        pixels = np.stack([np.asarray(frame) for frame in shown])  # [F, H, W, 3]
        # Said, since frames of one or three rows look like channels.
        processed = self._video_processor(
            [pixels],
            return_tensors="pt",
            do_sample_frames=False,
            input_data_format="channels_last",
        )
        layout = self._family.clip(*frames[0].size, len(frames), frames_per_s)
        return self._prepared("video", processed, layout)

    @torch.inference_mode()
    def encode(self, batch: Sequence[Prepared]) -> list[VisualTokens]:
        results: dict[int, VisualTokens] = {}
        for kind in {prepared.kind for prepared in batch}:
            indices = [index for index, prepared in enumerate(batch) if prepared.kind == kind]
            encoded = self._encode_alike(kind, [batch[index] for index in indices])
            results |= zip(indices, encoded, strict=True)
        return [results[index] for index in range(len(batch))]

    @torch.inference_mode()
    def encode_with_views(self, batch: Sequence[Prepared]) -> list[tuple[VisualTokens, TowerView]]:
        kind, joined = batch[0].kind, self._joined(batch)
        with self._family.watching(self._model) as watched:
            tokens = self._encode_joined(kind, joined, batch)
        num_rows = [prepared.num_rows for prepared in batch]
        seen = self._family.per_token(self._model, kind, joined, num_rows, watched.seen())
        return list(zip(tokens, views_of(list(seen)), strict=True))

    def _encode_alike(self, kind: str, batch: Sequence[Prepared]) -> list[VisualTokens]:
        return self._encode_joined(kind, self._joined(batch), batch)

    def _joined(self, batch: Sequence[Prepared]) -> dict[str, torch.Tensor]:
        like = next(self._model.parameters())
        joined = {
            name: torch.cat([prepared.tensors[name] for prepared in batch]).to(like.device)
            for name in batch[0].tensors
        }
        joined["pixel_values"] = joined["pixel_values"].to(like.dtype)
        return joined

    def _encode_joined(
        self, kind: str, joined: Mapping[str, torch.Tensor], batch: Sequence[Prepared]
    ) -> list[VisualTokens]:
        tokens = self._family.encode(self._model, kind, joined)
        return [
            _checked(one, prepared.layout, self._family)
            for one, prepared in zip(tokens, batch, strict=True)
        ]

    def _prepared(
        self, kind: str, processed: Mapping[str, torch.Tensor], layout: VisualLayout
    ) -> Prepared:
        tensors = self._family.tensors(kind, processed)
        return Prepared(kind, tensors, layout, self._family.patches_per_row)


def _checked(tokens: torch.Tensor, layout: VisualLayout, family: Family) -> VisualTokens:
    expected = (layout.num_tokens, family.row_size)
    if tuple(tokens.shape) != expected:
        raise BrokenOutputError(
            f"the encoder made visual tokens of shape {tuple(tokens.shape)}, {expected} expected"
        )
    if not torch.isfinite(tokens).all():
        raise BrokenOutputError("the encoder made visual tokens that are not finite")
    # A view would take the whole batch along when it is sent somewhere.
    tokens = tokens.clone()
    if layout.grid is None:
        return VisualTokens(tokens, None, layout.num_tokens)
    steps_apart = layout.grid[0] if layout.apart else 0
    return VisualTokens(tokens, grid_positions(layout), grid_extent(layout), steps_apart)


def _refuse_all_but_rgb(images: Sequence[Image]) -> None:
    for image in images:
        if image.mode != "RGB":
            raise UnsupportedPictureError(f"a picture is {image.mode}, it has to be RGB")


def _empty_model(checkpoint: Path, family: Family, dtype: torch.dtype) -> Any:
    """The model with room for the tower's weights; its language model is never made."""
    config: Any = AutoConfig.from_pretrained(checkpoint)
    family.vision_config(config)
    text = config.get_text_config()
    text.num_hidden_layers, text.vocab_size = 0, 1
    text.pad_token_id = text.bos_token_id = text.eos_token_id = None
    text.layer_types = []
    with no_init_weights():
        model: Any = AutoModel.from_config(config, dtype=dtype)
    del model.language_model
    return model


def _fill(model: Any, checkpoint: Path, family: Family) -> None:
    root, prefixes = vision_prefixes(checkpoint, family.weights)
    tensors = {
        _name_in_model(name.removeprefix(root)): tensor
        for name, tensor in read_tensors(checkpoint, prefixes).items()
    }
    expected = model.state_dict()
    try:
        # What is beyond the model is left: layers that feed nothing, a head that nobody asks.
        model.load_state_dict({name: tensors[name] for name in tensors if name in expected})
    except RuntimeError as error:  # names or shapes that do not fit; torch lists them
        raise UnsupportedCheckpointError(f"{checkpoint}: {error}") from error


def _name_in_model(name: str) -> str:
    """The hub says `vision_tower.vision_model.`, transformers 5 has one module less."""
    return name.replace("vision_tower.vision_model.", "vision_tower.", 1)
