"""Two hundred requests at once, each with sixteen 12-megapixel pictures by URL.

The real layers of the API around a stand-in for vLLM, so that what they hold can be counted.
"""

import asyncio
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest
from prometheus_client import Gauge

from saccade.serving.api.in_flight import BytesInFlight
from saccade.serving.media.fetch import MediaFetcher
from tests.e2e.flood import NUM_PICTURES, NUM_REQUESTS, pictures_of_another_process
from tests.unit.api.guarding import Inner, Server, about

LIMIT_BYTES = 32 * 2**20


class Watched:
    """A gauge that remembers its highest value."""

    highest = 0.0

    def set(self, value: float) -> None:
        self.highest = max(self.highest, value)


@contextmanager
def peak_of_memory() -> Iterator[list[int]]:
    """How many bytes the objects of this process hold more at most; the one entry of the list.

    Not the resident size: how much of it the allocator keeps depends on what ran before.
    """
    peak = [0]
    tracemalloc.start()
    try:
        yield peak
        peak[0] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
async def test_what_does_not_fit_is_refused_early_and_memory_stays_within_its_budget() -> None:
    media = {"allowed_private_hosts": ["127.0.0.1"], "max_images": NUM_PICTURES}
    server = Server(
        Inner(), media=media, max_bytes_in_flight=LIMIT_BYTES, max_body_bytes=LIMIT_BYTES
    )
    gauge = Watched()
    in_flight = BytesInFlight(LIMIT_BYTES, cast(Gauge, gauge))
    guard = server.guard
    guard.in_flight = in_flight
    with pictures_of_another_process() as url:
        async with MediaFetcher(guard.settings.media) as fetcher:
            guard.fetcher = fetcher
            bodies = [
                about(*(f"{url}/{number}-{picture}" for picture in range(NUM_PICTURES)))
                for number in range(NUM_REQUESTS)
            ]
            with peak_of_memory() as peak:
                exchanges = await asyncio.gather(*(server.send(body) for body in bodies))
    statuses = [exchange.status for exchange in exchanges]
    assert set(statuses) <= {200, 429}
    assert 429 in statuses
    codes = {exchange.error["code"] for exchange in exchanges if exchange.status == 429}
    assert len(codes) == 1
    assert 0 < gauge.highest <= LIMIT_BYTES
    assert in_flight.num_bytes == 0
    # 3.7 GB were offered. Beside the files there are 200 requests with 3,200 downloads, about 45 MB
    # together. Refused requests that kept what they had read would be at 1.1 GB.
    assert peak[0] < 4 * LIMIT_BYTES
