from collections.abc import AsyncIterator

import pytest_asyncio

from tests.unit.media.server import PictureServer


@pytest_asyncio.fixture
async def server() -> AsyncIterator[PictureServer]:
    async with PictureServer() as running:
        yield running
