"""Work that many ask for at once is done once."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Flight(Generic[T]):
    task: "asyncio.Future[T]"
    num_waiting: int = 0


class SingleFlight(Generic[T]):
    """By key. Who leaves does not disturb the others; when all have left, the work is cancelled."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The result of `work`, or of the same work under way; and whether it was under way.

        Its error, if it fails, is that of all who wait for it.
        """
        flight = self._flights.get(key)
        joined = flight is not None
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(work()))
            flight.task.add_done_callback(functools.partial(self._end, key, flight))
        flight.num_waiting += 1
        try:
            return await asyncio.shield(flight.task), joined
        finally:
            flight.num_waiting -= 1
            if not flight.num_waiting and not flight.task.done():
                flight.task.cancel()
                # Who comes now starts anew.
                self._end(key, flight, flight.task)

    def _end(self, key: str, flight: _Flight[T], task: "asyncio.Future[T]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if task.done() and not task.cancelled():
            task.exception()  # seen, also when nobody waits any more
