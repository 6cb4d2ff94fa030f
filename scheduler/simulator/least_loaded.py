"""The least loaded of many, without looking at all of them."""

import heapq


class LeastLoaded:
    """Members with a load; changing one and finding the best are O(log n), amortised.

    Old entries stay in the heap until they come to its top or are too many.
    """

    __slots__ = ("_heap", "_loads")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._loads: dict[int, float] = {}

    def put(self, member: int, load: float) -> None:
        if self._loads.get(member) == load:
            return
        self._loads[member] = load
        heapq.heappush(self._heap, (load, member))
        if len(self._heap) > 64 + 4 * len(self._loads):
            self._heap = [(one, number) for number, one in self._loads.items()]
            heapq.heapify(self._heap)

    def drop(self, member: int) -> None:
        self._loads.pop(member, None)

    def best(self) -> int | None:
        """The smallest load, then the smallest number; None when there is no member."""
        heap = self._heap
        while heap:
            load, member = heap[0]
            if self._loads.get(member) == load:
                return member
            heapq.heappop(heap)
        return None
