"""LLaVA-OneVision: a SigLIP tower on tiles of any resolution, several pictures, and video."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saccade.encoders.base import (
    TOWER_VIEW,
    Block,
    Support,
    UnsupportedCheckpointError,
    VisualLayout,
)
from saccade.encoders.tiles import best_resolution, tile_resolutions, unpadded_grid
from saccade.encoders.towers import SquareTowerFamily, tiles_of_one

if TYPE_CHECKING:
    import torch

    from saccade.encoders.checkpoint import CheckpointFiles

# Above it, the tiles' tokens are scaled down to what `anyres_max_N` allows.
MAX_RATIO = 1.1


class LlavaOnevision(SquareTowerFamily):
    """Each picture of several is tiled like a single one, as vLLM does."""

    name = "LLaVA-OneVision"
    architectures = ("LlavaOnevisionForConditionalGeneration",)
    support = Support(pictures=True, video=True, exposes=TOWER_VIEW)
    weights = ("vision_tower.", "multi_modal_projector.", "image_newline")
    tower = "siglip_vision_model"

    def __init__(self, files: CheckpointFiles) -> None:
        super().__init__(files)
        self._refuse_strategies_but("full")
        self._resolutions = tile_resolutions(files, self.tile_size)
        limit = str(files.config.get("vision_aspect_ratio", "anyres_max_9"))
        found = re.fullmatch(r"anyres_max_([1-9]\d*)", limit)
        # vLLM counts with 9, whatever the checkpoint says.
        if found is None or found.group(1) != "9":
            raise UnsupportedCheckpointError(
                f"vision_aspect_ratio has to be anyres_max_9, not {limit}"
            )
        self._max_tokens = 9 * self.side**2
        self._tokens_per_frame = math.ceil(self.side / 2) ** 2

    def picture(self, width: int, height: int) -> VisualLayout:
        tall, wide = best_resolution(width, height, self._resolutions)
        rows, columns = unpadded_grid(
            width, height, tall // self.tile_size * self.side, wide // self.tile_size * self.side
        )
        ratio = math.sqrt(rows * columns / self._max_tokens)
        if ratio > MAX_RATIO:
            rows, columns = int(rows // ratio), int(columns // ratio)
        return VisualLayout.tiled(self.side, rows, columns)

    def clip(self, width: int, height: int, num_frames: int, frames_per_s: float) -> VisualLayout:
        """Frames are seen whole and pooled; one newline ends the clip."""
        side = math.isqrt(self._tokens_per_frame)
        blocks = (Block(side, side),) * num_frames
        return VisualLayout(num_frames * self._tokens_per_frame + 1, blocks=blocks)

    def tensors(self, kind: str, processed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if kind == "video":
            import torch

            frames = processed["pixel_values_videos"][0]
            return {"pixel_values": frames, "num_frames": torch.tensor([len(frames)])}
        return tiles_of_one(processed)

    def encode(
        self, model: Any, kind: str, batch: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        if kind == "video":
            return self._encode_clips(model, batch)
        tokens: Sequence[torch.Tensor] = model.get_image_features(
            batch["pixel_values"], batch["image_sizes"]
        ).pooler_output
        return tokens

    def _encode_clips(
        self, model: Any, batch: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        """The frames of all clips at once; transformers would want equally many in each."""
        joined = model.get_video_features(batch["pixel_values"][None]).pooler_output[0]
        frames, newline = joined[:-1], joined[-1:]
        return self._clips(frames, newline, batch)

    def _clips(
        self, frames: torch.Tensor, newline: torch.Tensor, batch: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        import torch

        sizes = [num * self._tokens_per_frame for num in batch["num_frames"].tolist()]
        return [torch.cat((clip, newline)) for clip in frames.split(sizes)]

    def per_token(
        self,
        model: Any,
        kind: str,
        batch: Mapping[str, torch.Tensor],
        num_rows: Sequence[int],
        seen: torch.Tensor,
    ) -> Sequence[torch.Tensor]:
        newline = seen.new_zeros(seen.shape[-1])
        if kind == "video":
            return self._clips(model.apply_pooling(seen).flatten(0, 1), newline[None], batch)
        packed: Sequence[torch.Tensor]
        packed, _ = model.pack_image_features(
            seen.split(list(num_rows)), batch["image_sizes"], image_newline=newline
        )
        return packed
