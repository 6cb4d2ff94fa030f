"""What an encoder made, for tests."""

import torch

from saccade.encoders.base import VisualFeatures, VisualTokens
from saccade.serving.caches.eviction import Entry
from saccade.serving.caches.tokens import num_bytes


def some_features(
    seed: int = 0,
    num_tokens: int = 6,
    *,
    positions: bool = True,
    seen: bool = True,
    steps_apart: int = 0,
) -> VisualFeatures:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(num_tokens, 8, generator=generator).to(torch.bfloat16)
    tokens = VisualTokens(
        embeddings,
        torch.arange(num_tokens)[:, None].expand(-1, 3) if positions else None,
        num_tokens + seed,
        steps_apart,
    )
    if not seen:
        return VisualFeatures(tokens)
    attention = torch.rand(num_tokens, generator=generator)
    return VisualFeatures(tokens, attention, torch.randn(num_tokens, 3, generator=generator))


def an_entry(
    key: str, features: VisualFeatures, *, cost_ms: float = 10.0, owner: str = ""
) -> Entry:
    return Entry(name(key), num_bytes(features), cost_ms, name(owner))


def name(text: str) -> str:
    """As keys look: 32 hexadecimal digits."""
    return text.encode().hex().ljust(32, "0")


def equal(one: VisualFeatures, other: VisualFeatures) -> bool:
    """To the bit, number formats included."""
    scalars = [(one.tokens.extent, one.tokens.steps_apart) for one in (one, other)]
    return scalars[0] == scalars[1] and all(
        _same(mine, theirs) for mine, theirs in zip(_tensors(one), _tensors(other), strict=True)
    )


def _tensors(features: VisualFeatures) -> list[torch.Tensor | None]:
    tokens = features.tokens
    return [tokens.embeddings, tokens.positions, features.attention, features.image_embeds]


def _same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.dtype == other.dtype and torch.equal(one, other)
