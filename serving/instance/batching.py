"""Which of the waiting pictures are encoded together."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class BatchQueue(Generic[T]):
    """First come, first served, in batches of at most `max_size` together.

    A picture may be a thousand times as large as another, so batches are bounded by what they cost
    in time and memory (`size`), not by how many are in them. What is larger alone is a batch alone.
    """

    size: Callable[[T], int]
    max_size: int
    _queue: "asyncio.Queue[T]" = field(default_factory=asyncio.Queue)
    _next: list[T] = field(default_factory=list)
    """At most one: it did not fit into the last batch."""

    def put(self, item: T) -> None:
        self._queue.put_nowait(item)

    async def take(self) -> list[T]:
        """Waits for the first, and for no more than that."""
        batch = self._next or [await self._queue.get()]
        self._next = []
        left = self.max_size - self.size(batch[0])
        while left > 0 and not self._queue.empty():
            item = self._queue.get_nowait()
            left -= self.size(item)
            (batch if left >= 0 else self._next).append(item)
        return batch
