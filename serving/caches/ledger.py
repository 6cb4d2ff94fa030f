"""What one tier of a cache holds, and what goes when something comes: books without the goods."""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from saccade.serving.caches.eviction import Entry, Eviction

# Old places in the heap are left behind, and swept when they are most of it.
SWEEP_FACTOR = 4
SWEEP_MIN = 64


@dataclass(slots=True, eq=False)
class _Held:
    entry: Entry
    rank: tuple[float, int]
    num_uses: int = 1


class Ledger:
    """Entries within a budget of bytes. Pure: who keeps the goods does as `add` says.

    `add`, `use` and `remove` take O(log n), amortised.
    """

    def __init__(self, budget_bytes: int, eviction: Eviction) -> None:
        self._budget_bytes = budget_bytes
        self._eviction = eviction
        self._held: dict[str, _Held] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._ticks = itertools.count()
        self._num_bytes = 0
        self._num_evictions = 0

    @property
    def num_bytes(self) -> int:
        """Never above the budget."""
        return self._num_bytes

    @property
    def num_evictions(self) -> int:
        """Entries that had to make room for others, so far."""
        return self._num_evictions

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __iter__(self) -> Iterator[Entry]:
        """A snapshot."""
        return iter([held.entry for held in self._held.values()])

    def fits(self, num_bytes: int) -> bool:
        """Whether an entry of this size could be held at all."""
        return num_bytes <= self._budget_bytes

    def add(self, entry: Entry) -> list[Entry]:
        """Hold `entry`, in place of one with its key; returns those that have to go for it.

        Raises:
            ValueError: it does not fit into the whole budget.
        """
        if not self.fits(entry.num_bytes):
            raise ValueError(f"{entry.num_bytes} bytes do not fit into {self._budget_bytes}")
        self.remove(entry.key)
        evicted = []
        while self._num_bytes + entry.num_bytes > self._budget_bytes:
            evicted.append(self._evict())
        held = _Held(entry, (0.0, 0))
        self._held[entry.key] = held
        self._num_bytes += entry.num_bytes
        self._rank(held)
        return evicted

    def use(self, key: str) -> Entry | None:
        """The entry, which counts as used once more; None when it is not held."""
        held = self._held.get(key)
        if held is None:
            return None
        held.num_uses += 1
        self._rank(held)
        return held.entry

    def remove(self, key: str) -> Entry | None:
        """Forget an entry, if it is held; not an eviction."""
        held = self._held.pop(key, None)
        if held is None:
            return None
        self._num_bytes -= held.entry.num_bytes
        return held.entry

    def _rank(self, held: _Held) -> None:
        held.rank = (self._eviction.priority(held.entry, held.num_uses), next(self._ticks))
        heapq.heappush(self._heap, (*held.rank, held.entry.key))
        if len(self._heap) > SWEEP_MIN + SWEEP_FACTOR * len(self._held):
            self._heap = [(*one.rank, key) for key, one in self._held.items()]
            heapq.heapify(self._heap)

    def _evict(self) -> Entry:
        while True:
            priority, tick, key = heapq.heappop(self._heap)
            held = self._held.get(key)
            if held is not None and held.rank == (priority, tick):
                break
        del self._held[key]
        self._num_bytes -= held.entry.num_bytes
        self._num_evictions += 1
        self._eviction.evicted(priority)
        return held.entry
