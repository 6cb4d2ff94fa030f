"""Visual tokens for tests."""

import torch

from saccade.encoders.base import VisualTokens
from saccade.serving.caches.eviction import Entry
from saccade.serving.caches.tokens import num_bytes


def some_tokens(seed: int = 0, num_tokens: int = 6, *, positions: bool = True) -> VisualTokens:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(num_tokens, 8, generator=generator).to(torch.bfloat16)
    return VisualTokens(
        embeddings,
        torch.arange(num_tokens)[:, None].expand(-1, 3) if positions else None,
        num_tokens + seed,
    )


def an_entry(key: str, tokens: VisualTokens, *, cost_ms: float = 10.0, owner: str = "") -> Entry:
    return Entry(name(key), num_bytes(tokens), cost_ms, name(owner))


def name(text: str) -> str:
    """As keys look: 32 hexadecimal digits."""
    return text.encode().hex().ljust(32, "0")


def equal(one: VisualTokens, other: VisualTokens) -> bool:
    if (one.positions is None) != (other.positions is None):
        return False
    return (
        torch.equal(one.embeddings, other.embeddings)
        and one.embeddings.dtype == other.embeddings.dtype
        and (one.positions is None or torch.equal(one.positions, other.positions))  # type: ignore[arg-type]
        and one.extent == other.extent
    )
