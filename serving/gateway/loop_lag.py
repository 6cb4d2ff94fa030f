"""How long the event loop keeps everybody waiting."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from prometheus_client import Histogram

# A hold-up of twice this is always seen, with half of its length at least.
INTERVAL_S = 0.01


@contextlib.asynccontextmanager
async def watching_lag(histogram: Histogram) -> AsyncIterator[None]:
    """Observe, until the end, how late the loop wakes up who sleeps."""
    watcher = asyncio.create_task(_watch(histogram))
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.wait({watcher})


async def _watch(histogram: Histogram) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        histogram.observe(max(0.0, clock() - due))
