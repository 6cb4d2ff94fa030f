"""A tier that holds its goods in a dictionary."""

from typing import Generic, TypeVar

from saccade.serving.caches.eviction import Entry, Eviction
from saccade.serving.caches.ledger import Ledger
from saccade.serving.caches.stats import TierStats

T = TypeVar("T")


class MemoryTier(Generic[T]):
    """Values within a budget of bytes."""

    def __init__(self, budget_bytes: int, eviction: Eviction) -> None:
        self._budget_bytes = budget_bytes
        self._ledger = Ledger(budget_bytes, eviction)
        self._values: dict[str, T] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: str) -> tuple[T, Entry] | None:
        """The value, which counts as used once more."""
        entry = self._ledger.use(key)
        return None if entry is None else (self._values[key], entry)

    def put(self, entry: Entry, value: T) -> list[Entry]:
        """Keep a value, if it fits at all; returns the entries that had to go for it."""
        if not self._ledger.fits(entry.num_bytes):
            return []
        evicted = self._ledger.add(entry)
        for gone in evicted:
            del self._values[gone.key]
        self._values[entry.key] = value
        return evicted

    def remove(self, key: str) -> None:
        """Nothing happens when it is not there."""
        if self._ledger.remove(key) is not None:
            del self._values[key]

    def clear(self, owner: str | None = None) -> list[Entry]:
        """Remove all entries, or those of one owner; returns them."""
        gone = [entry for entry in self._ledger if owner in (None, entry.owner)]
        for entry in gone:
            self.remove(entry.key)
        return gone

    def stats(self) -> TierStats:
        ledger = self._ledger
        return TierStats(self._budget_bytes, ledger.num_bytes, len(ledger), ledger.num_evictions)
