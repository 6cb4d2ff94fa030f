"""Files that may change while the server runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

# Kubernetes itself takes a minute to bring a changed Secret into a pod.
RELOAD_INTERVAL_S = 5.0


@contextlib.asynccontextmanager
async def watching(
    reload: Callable[[], Awaitable[None] | None], interval_s: float = RELOAD_INTERVAL_S
) -> AsyncIterator[None]:
    """Call `reload` every few seconds, until the end."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(interval_s)
            if (work := reload()) is not None:
                await work

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.wait({watcher})
