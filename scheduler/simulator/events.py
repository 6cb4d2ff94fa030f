"""The event core: a clock and a heap.

SimPy was measured first and costs seven times as much for each event (docs/simulator.md), and its
events cannot be withdrawn, which re-planning a decode batch needs all the time. Here an action that
was overtaken looks at a version number and does nothing.
"""

import heapq
from collections.abc import Callable
from typing import Any

Action = Callable[..., None]


class EventQueue:
    """Runs actions in the order of their time; those of equal time in the order of scheduling.

    That order is total, so that a run is the same to the last bit wherever it happens.
    """

    __slots__ = ("_heap", "_sequence", "now_s", "num_processed")

    def __init__(self) -> None:
        self.now_s = 0.0
        self.num_processed = 0
        self._heap: list[tuple[float, int, Action, tuple[Any, ...]]] = []
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_s(self) -> float:
        """When the next event is; infinity when none is left."""
        return self._heap[0][0] if self._heap else float("inf")

    def at(self, when_s: float, action: Action, *args: Any) -> None:
        """Call `action(*args)` at `when_s`; a time that has passed means now."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(when_s, self.now_s), self._sequence, action, args))

    def after(self, delay_s: float, action: Action, *args: Any) -> None:
        self.at(self.now_s + delay_s, action, *args)

    def run(self, until_s: float = float("inf"), max_events: int | None = None) -> bool:
        """Process events up to and including `until_s`; True when none is left."""
        heap = self._heap
        left = -1 if max_events is None else max_events
        while heap and heap[0][0] <= until_s and left != 0:
            self.now_s, _, action, args = heapq.heappop(heap)
            action(*args)
            self.num_processed += 1
            left -= 1
        return not heap
