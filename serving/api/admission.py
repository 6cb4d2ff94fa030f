"""How many answers are worked on at once; the rest wait in order, for a bounded time."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from saccade.serving import tracing
from saccade.serving.config.api import ApiConfig
from saccade.serving.errors import OverloadedError
from saccade.serving.gateway.metrics import GatewayMetrics


@dataclass(slots=True, eq=False)
class _Waiter:
    weight: int
    admitted: "asyncio.Future[None]"


class Admission:
    """First come, first served; nobody overtakes, so that a heavy request is not starved."""

    def __init__(self, config: ApiConfig, metrics: GatewayMetrics) -> None:
        self._config = config
        self._metrics = metrics
        self._running = 0
        self._waiters: deque[_Waiter] = deque()
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def slot(self, weight: int) -> AsyncIterator[None]:
        """Hold room for `weight` answers.

        Raises:
            OverloadedError: the queue is full, the wait was too long, or the server is stopping.
        """
        arrived_s = asyncio.get_running_loop().time()
        with tracing.span("queue"):
            await self._enter(weight)
        self._metrics.latency.queue_time.observe(asyncio.get_running_loop().time() - arrived_s)
        try:
            yield
        finally:
            self._release(weight)

    def close(self) -> None:
        """Admit nobody any more; who waits is refused."""
        self._closed = True
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.admitted.done():
                waiter.admitted.set_exception(_stopping())
        self._update()

    async def idle(self) -> None:
        """Wait until nothing is running."""
        await self._idle.wait()

    @property
    def running(self) -> int:
        return self._running

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._waiters)

    async def _enter(self, weight: int) -> None:
        if self._closed:
            raise _stopping()
        if not self._waiters and self._fits(weight):
            self._take(weight)
            return
        if len(self._waiters) >= self._config.max_queued:
            raise OverloadedError("The server is busy and its queue is full.", reason="queue_full")
        waiter = _Waiter(weight, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._update()
        try:
            async with asyncio.timeout(self._config.queue_timeout_s):
                await waiter.admitted
        except BaseException as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                limit_s = self._config.queue_timeout_s
                raise OverloadedError(
                    f"The server is busy: no room after {limit_s:g} s in the queue.",
                    reason="queue_timeout",
                ) from None
            raise

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            # It may have been the one that did not fit, with others behind it that do.
            self._admit()
        elif _was_admitted(waiter):
            self._release(waiter.weight)
        self._update()

    def _fits(self, weight: int) -> bool:
        return self._running + weight <= self._config.max_running

    def _take(self, weight: int) -> None:
        self._running += weight
        self._idle.clear()
        self._update()

    def _release(self, weight: int) -> None:
        self._running -= weight
        if not self._running:
            self._idle.set()
        self._admit()

    def _admit(self) -> None:
        while self._waiters and self._fits(self._waiters[0].weight):
            waiter = self._waiters.popleft()
            if not waiter.admitted.done():
                self._take(waiter.weight)
                waiter.admitted.set_result(None)
        self._update()

    def _update(self) -> None:
        self._metrics.running.set(self._running)
        self._metrics.queued.set(len(self._waiters))


def _was_admitted(waiter: _Waiter) -> bool:
    future = waiter.admitted
    return future.done() and not future.cancelled() and future.exception() is None


def _stopping() -> OverloadedError:
    return OverloadedError("The server is shutting down.", reason="shutting_down", retry_after_s=5)
