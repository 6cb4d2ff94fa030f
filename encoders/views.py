"""What methods that choose visual tokens may look at: the tower's states and attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import torch

# Queries whose weights are held at once, of a tower that takes ten thousand patches.
QUERIES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class TowerView:
    """Of one picture or clip, one row for each visual token that it becomes.

    `states` [n, width] is what the projector was given. `attention` [n] says how much the tower's
    last layer below it attended to the token's patch, averaged over heads: from the summary token
    where the tower has one (CLIP's class token), else from all patches (the column mean). Where
    several patches make one token, both are their average (or interpolated, where the model
    interpolates). Newlines and summary tokens have zeros.
    """

    states: torch.Tensor
    attention: torch.Tensor


class Watched(Protocol):
    """What a model did while it was watched."""

    def seen(self) -> torch.Tensor:
        """[rows of pixels, …, width + 1]: states, and attention as the last number, in float32."""
        ...


def views_of(per_token: list[torch.Tensor]) -> list[TowerView]:
    """From [n, width + 1] for each picture; each in memory of its own."""
    return [TowerView(one[:, :-1].clone(), one[:, -1].clone()) for one in per_token]


@dataclass(slots=True)
class WatchedSquares:
    """A tower that sees squares of n patches; `seen` is [squares, n, width + 1]."""

    num_heads: int
    has_summary_token: bool
    states: list[torch.Tensor] = field(default_factory=list)
    queries: list[torch.Tensor] = field(default_factory=list)
    keys: list[torch.Tensor] = field(default_factory=list)

    def seen(self) -> torch.Tensor:
        [states], [queries], [keys] = self.states, self.queries, self.keys
        attention = self._attention(queries.float(), keys.float())
        # The projector may be given the summary token, too: it comes first.
        missing = states.shape[1] - attention.shape[1]
        attention = torch.nn.functional.pad(attention, (missing, 0))
        return torch.cat((states.float(), attention[..., None]), dim=-1)

    def _attention(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        tiles, tokens, width = queries.shape
        split = (tiles, tokens, self.num_heads, width // self.num_heads)
        q, k = (one.view(split).transpose(1, 2) for one in (queries, keys))  # [B, H, T, D]
        if self.has_summary_token:
            q = q[:, :, :1]
        weights: torch.Tensor = (
            (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1).mean((1, 2))
        )  # [B, T]
        return weights[:, 1:] if self.has_summary_token else weights


@contextmanager
def watching_squares(model: Any) -> Iterator[WatchedSquares]:
    """Watch a LLaVA model of transformers encode one batch."""
    vision, layer = model.config.vision_config, model.config.vision_feature_layer
    layers = model.vision_tower.encoder.layers
    # The state numbered n is what n layers have made; number 0 are the embeddings.
    attention = layers[(layer if layer >= 0 else len(layers) + layer + 1) - 1].self_attn
    watched = WatchedSquares(vision.num_attention_heads, vision.model_type == "clip_vision_model")
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


@dataclass(slots=True)
class WatchedPatches:
    """A tower that sees patches of pictures of any size; `seen` is [patches, width + 1]."""

    num_heads: int
    states: list[torch.Tensor] = field(default_factory=list)
    joined: list[torch.Tensor] = field(default_factory=list)
    """Queries, keys and values, [patches, 3 x width]."""
    given: list[dict[str, Any]] = field(default_factory=list)

    def seen(self) -> torch.Tensor:
        [states], [joined], [given] = self.states, self.joined, self.given
        split = (len(joined), 3, self.num_heads, -1)
        queries, keys, _ = joined.float().reshape(split).unbind(1)  # [patches, H, D]
        queries, keys = (_rotated(one, given["position_embeddings"]) for one in (queries, keys))
        ends = given["cu_seqlens"].tolist()
        attention = torch.cat(
            [_column_mean(queries[start:stop], keys[start:stop]) for start, stop in pairwise(ends)]
        )
        return torch.cat((states.float(), attention[:, None]), dim=-1)


def _rotated(vectors: torch.Tensor, by: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """RoPE on [patches, H, D], as the towers apply it."""
    cos, sin = (one.float().unsqueeze(-2) for one in by)
    low, high = vectors.chunk(2, dim=-1)
    return vectors * cos + torch.cat((-high, low), dim=-1) * sin


def _column_mean(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """[patches]: what each gets, averaged over queries and heads. [patches, H, D] each."""
    total = torch.zeros(len(keys), device=keys.device)
    for some in queries.split(QUERIES_AT_ONCE):
        weights = torch.einsum("qhd,khd->hqk", some, keys) / some.shape[-1] ** 0.5
        total += weights.softmax(-1).sum((0, 1))
    return total / (len(queries) * queries.shape[1])


@contextmanager
def watching_patches(model: Any) -> Iterator[WatchedPatches]:
    """Watch a Qwen-VL model of transformers encode one batch."""
    attention = model.visual.blocks[-1].attn
    watched = WatchedPatches(attention.num_heads)
    handles = [
        model.visual.merger.register_forward_pre_hook(
            lambda _, given: watched.states.append(given[0])
        ),
        attention.qkv.register_forward_hook(lambda _, __, out: watched.joined.append(out)),
        attention.register_forward_pre_hook(
            lambda _, __, given: watched.given.append(given), with_kwargs=True
        ),
    ]
    try:
        yield watched
    finally:
        for handle in handles:
            handle.remove()
