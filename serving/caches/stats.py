"""What a cache tells of itself."""

from dataclasses import dataclass
from typing import Literal

Tier = Literal["shared", "memory", "disk"]
TIERS: tuple[Tier, ...] = ("shared", "memory", "disk")
Source = Tier | Literal["encoded", "joined"]
"""Where visual tokens came from: a tier, the encoder, or the same work under way for another."""


@dataclass(frozen=True, slots=True)
class TierStats:
    """Of one tier of one instance, since it started."""

    budget_bytes: int
    num_bytes: int
    num_entries: int
    num_evictions: int
    num_corrupted: int = 0
    """Entries that were not whole any more, and were dropped."""
    num_errors: int = 0
    """Reads and writes that the disk has refused."""
