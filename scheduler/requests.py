"""What is known of a request before a pixel is decoded or a token computed."""

from dataclasses import dataclass
from typing import Literal

Priority = Literal["interactive", "standard", "batch"]
PRIORITIES: tuple[Priority, ...] = ("interactive", "standard", "batch")


@dataclass(frozen=True, slots=True)
class VisualItem:
    """One picture, or one clip of a video."""

    key: str
    """Key of its visual tokens in the cache: content, preprocessing and tenant are part of it."""
    tokens: int
    """Visual tokens that the LLM will see."""
    pixels: int = 0
    num_bytes: int = 0
    """As it was sent, compressed."""


@dataclass(frozen=True, slots=True)
class PrefixKey:
    """A beginning of the unified (visual + text) token sequence."""

    key: str
    """Names all tokens from the first to the last of the beginning."""
    tokens: int
    """Its length."""


@dataclass(frozen=True, slots=True)
class RequestShape:
    """One request as decisions see it."""

    key: str
    modality: str = "text"
    """Decides the group: "text", "image", "video", "generation", or what the groups name."""
    text_tokens: int = 0
    visual: tuple[VisualItem, ...] = ()
    output_tokens: int = 1
    """Expected, from history or the client's limit; 1 at least."""
    tenant: str = "default"
    priority: Priority = "standard"
    arrival_s: float = 0.0
    deadline_s: float | None = None
    """When its first token is too late, on the clock of `arrival_s`."""
    prefix: tuple[PrefixKey, ...] = ()
    """Beginnings that a prefix cache may hold, shortest first. Who holds one holds the shorter."""
    one_instance: bool = False
    """Prefill and decode may not be split."""

    @property
    def visual_tokens(self) -> int:
        return sum([item.tokens for item in self.visual]) if self.visual else 0

    @property
    def pixels(self) -> int:
        return sum(item.pixels for item in self.visual)

    @property
    def num_bytes(self) -> int:
        return sum(item.num_bytes for item in self.visual)
