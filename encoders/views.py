"""What methods that choose visual tokens may look at: the tower's states and attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class TowerView:
    """Of one picture or clip, tile by tile (or frame by frame).

    `states` [tiles, n, width] is what the projector was given. `attention` [tiles, patches] says
    how much the last layer below it attended to each patch, averaged over heads: from the summary
    token where the tower has one (CLIP's class token), else from all patches (the column mean).
    """

    states: torch.Tensor
    attention: torch.Tensor


@dataclass(slots=True)
class Watched:
    """What a model did while it was watched."""

    num_heads: int
    has_summary_token: bool
    states: list[torch.Tensor] = field(default_factory=list)
    queries: list[torch.Tensor] = field(default_factory=list)
    keys: list[torch.Tensor] = field(default_factory=list)

    def views(self, num_tiles: Sequence[int]) -> list[TowerView]:
        """One for each picture of the one batch that was encoded, each in memory of its own."""
        [states], [queries], [keys] = self.states, self.queries, self.keys
        attention = self._attention(queries, keys)
        return [
            TowerView(own.clone(), received.clone())
            for own, received in zip(
                states.split(list(num_tiles)), attention.split(list(num_tiles)), strict=True
            )
        ]

    def _attention(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        tiles, tokens, width = queries.shape
        split = (tiles, tokens, self.num_heads, width // self.num_heads)
        q, k = (one.view(split).transpose(1, 2) for one in (queries, keys))  # [B, H, T, D]
        if self.has_summary_token:
            q = q[:, :, :1]
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1).mean((1, 2))  # [B, T]
        received: torch.Tensor = weights[:, 1:] if self.has_summary_token else weights
        return received


@contextmanager
def watching(model: Any) -> Iterator[Watched]:
    """Watch a LLaVA model of transformers encode one batch."""
    vision, layer = model.config.vision_config, model.config.vision_feature_layer
    layers = model.vision_tower.encoder.layers
    # The state numbered n is what n layers have made; number 0 are the embeddings.
    attention = layers[(layer if layer >= 0 else len(layers) + layer + 1) - 1].self_attn
    watched = Watched(vision.num_attention_heads, vision.model_type == "clip_vision_model")
    handles = [
        model.multi_modal_projector.register_forward_pre_hook(
            lambda _, given: watched.states.append(given[0])
        ),
        attention.q_proj.register_forward_hook(lambda _, __, out: watched.queries.append(out)),
        attention.k_proj.register_forward_hook(lambda _, __, out: watched.keys.append(out)),
    ]
    try:
        yield watched
    finally:
        for handle in handles:
            handle.remove()
