"""What one tier of a cache holds, and what goes when something comes: books without the goods."""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from saccade.serving.caches.eviction import Entry, Eviction

# Old places in the heap are left behind, and swept when they are most of it.
SWEEP_FACTOR = 4
SWEEP_MIN = 64


@dataclass(slots=True, eq=False)
class _Held:
    entry: Entry
    rank: tuple[float, int]
    num_uses: int = 1


@dataclass(slots=True, eq=False)
class _Shelf:
    """What one owner has in the books."""

    eviction: Eviction
    num_bytes: int = 0
    num_entries: int = 0
    heap: list[tuple[float, int, str]] = field(default_factory=list)


class Ledger:
    """Entries within a budget of bytes. Pure: who keeps the goods does as `add` says.

    Owners share the budget as they need it, and equally when it is full: room is made by the owner
    who has most, so an owner loses nothing to others while it has no more than an equal share, as
    long as no single entry is larger than that. Which of its entries go is the policy's choice.

    `add`, `use` and `remove` take O(log n), amortised; an eviction, O(number of owners) more.
    """

    def __init__(self, budget_bytes: int, eviction: Eviction) -> None:
        self._budget_bytes = budget_bytes
        self._eviction = eviction
        self._held: dict[str, _Held] = {}
        self._shelves: dict[str, _Shelf] = {}
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
        shelf = self._shelves.setdefault(entry.owner, _Shelf(self._eviction.fresh()))
        evicted = []
        while self._num_bytes + entry.num_bytes > self._budget_bytes:
            evicted.append(self._evict(entry))
        held = _Held(entry, (0.0, 0))
        self._held[entry.key] = held
        self._count(shelf, entry.num_bytes, 1)
        self._rank(held)
        self._forget_empty(evicted)
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
        self._count(self._shelves[held.entry.owner], -held.entry.num_bytes, -1)
        self._forget_empty([held.entry])
        return held.entry

    def _count(self, shelf: _Shelf, num_bytes: int, num_entries: int) -> None:
        self._num_bytes += num_bytes
        shelf.num_bytes += num_bytes
        shelf.num_entries += num_entries

    def _forget_empty(self, gone: list[Entry]) -> None:
        """Owners come and go; those that have nothing left are not remembered."""
        for entry in gone:
            if entry.owner in self._shelves and not self._shelves[entry.owner].num_entries:
                del self._shelves[entry.owner]

    def _rank(self, held: _Held) -> None:
        shelf = self._shelves[held.entry.owner]
        held.rank = (shelf.eviction.priority(held.entry, held.num_uses), next(self._ticks))
        heapq.heappush(shelf.heap, (*held.rank, held.entry.key))
        if len(shelf.heap) > SWEEP_MIN + SWEEP_FACTOR * shelf.num_entries:
            shelf.heap = [place for place in shelf.heap if self._stands(place)]
            heapq.heapify(shelf.heap)

    def _stands(self, place: tuple[float, int, str]) -> bool:
        """Not an old place, of an entry that has been used again or has gone."""
        held = self._held.get(place[2])
        return held is not None and held.rank == place[:2]

    def _evict(self, newcomer: Entry) -> Entry:
        """Of the owner who has most, with what comes counted as held."""

        def with_newcomer(owner: str) -> int:
            more = newcomer.num_bytes if owner == newcomer.owner else 0
            return self._shelves[owner].num_bytes + more

        owners = [owner for owner, shelf in self._shelves.items() if shelf.num_entries]
        shelf = self._shelves[max(owners, key=with_newcomer)]
        while True:
            place = heapq.heappop(shelf.heap)
            if self._stands(place):
                break
        entry = self._held.pop(place[2]).entry
        self._count(shelf, -entry.num_bytes, -1)
        self._num_evictions += 1
        shelf.eviction.evicted(place[0])
        return entry
