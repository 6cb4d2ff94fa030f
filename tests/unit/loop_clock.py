"""Time for code that sets timers on the event loop."""

import asyncio


class LoopClock:
    """The clock of the running event loop, stopped: timers run when the test says so."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._now_s = loop.time()
        loop.time = lambda: self._now_s  # type: ignore[method-assign]

    async def advance(self, seconds: float) -> None:
        """Let time pass, and everything run that can."""
        self._now_s += seconds
        for _ in range(20):
            await asyncio.sleep(0)
