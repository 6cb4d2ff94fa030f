"""Which entry a cache gives up first.

No kept library weighs the cost of an entry (cachetools has LRU and LFU, with sizes but without
costs), and both policies here are one line of arithmetic each.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

EvictionName = Literal["gdsf", "lru"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a cached thing; the thing itself is elsewhere."""

    key: str
    num_bytes: int
    cost_ms: float
    """What computing it again would take."""
    owner: str = ""
    """Whose it is; entries of one owner can be removed together."""


class Eviction(Protocol):
    """The entry of the lowest priority goes first; of equal ones the least recently used."""

    def priority(self, entry: Entry, num_uses: int) -> float:
        """At the moment of a use, the first one included."""
        ...

    def evicted(self, priority: float) -> None:
        """An entry of this priority had to go."""
        ...

    def fresh(self) -> "Eviction":
        """The same policy, without memory."""
        ...


class GreedyDualSizeFrequency:
    """GDSF (Cherkasova, 1998): H = L + uses x cost / size.

    L rises to the priority of what was evicted last, so that what was popular long ago makes room
    in the end.
    """

    def __init__(self) -> None:
        self._inflation = 0.0

    def priority(self, entry: Entry, num_uses: int) -> float:
        return self._inflation + num_uses * entry.cost_ms / max(1, entry.num_bytes)

    def evicted(self, priority: float) -> None:
        self._inflation = max(self._inflation, priority)

    def fresh(self) -> Eviction:
        return GreedyDualSizeFrequency()


class LeastRecentlyUsed:
    """All are equal, so recency decides."""

    def priority(self, entry: Entry, num_uses: int) -> float:
        return 0.0

    def evicted(self, priority: float) -> None:
        """Nothing to remember."""

    def fresh(self) -> Eviction:
        return LeastRecentlyUsed()


def eviction(name: EvictionName) -> Eviction:
    """A new policy, with a memory of its own."""
    return GreedyDualSizeFrequency() if name == "gdsf" else LeastRecentlyUsed()
