import asyncio
import json

import pytest
from prometheus_client import CollectorRegistry, Gauge

from saccade.serving.api.asgi import Receive, Send
from saccade.serving.api.in_flight import BytesInFlight
from saccade.serving.errors import TooLargeError, TooMuchInFlightError
from tests.unit.api.exchange import settled
from tests.unit.api.guarding import Inner, Server, about, never, text


def in_flight(limit_bytes: int = 100) -> BytesInFlight:
    return BytesInFlight(limit_bytes, Gauge("bytes", "Bytes.", registry=CollectorRegistry()))


def test_what_a_request_held_is_given_back_also_after_an_error() -> None:
    held = in_flight()

    def fail() -> None:
        with held.lease() as lease:
            lease.take(60)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert held.num_bytes == 0


def test_what_outlives_its_request_is_not_counted() -> None:
    held = in_flight()
    with held.lease() as lease:
        lease.take(10)
    lease.take(20)
    assert held.num_bytes == 0


def test_who_comes_too_much_is_told_to_come_again_and_counts_for_nothing() -> None:
    held = in_flight()
    with held.lease() as one, held.lease() as other:
        one.take(60)
        with pytest.raises(TooMuchInFlightError):
            other.take(41)
        other.take(40)
        assert held.num_bytes == 100
    assert held.num_bytes == 0


def test_what_fits_never_is_told_so() -> None:
    held = in_flight()
    with held.lease() as lease:
        lease.take(60)
        with pytest.raises(TooLargeError, match=r"100 bytes \(api\.max_bytes_in_flight\)"):
            lease.check(41)


async def test_requests_that_do_not_fit_beside_others_get_429_until_those_are_done() -> None:
    server = Server(Inner(never), max_bytes_in_flight=4000, max_body_bytes=3000)
    first = server.exchange(about("http://a/never", user="x" * 2500))
    running = first.start()
    await settled()
    refused = await server.send(text("x" * 2500))
    assert refused.status == 429
    assert refused.error["code"] == "too_many_bytes_in_flight"
    assert refused.error["type"] == "rate_limit_error"
    assert refused.headers["retry-after"]
    first.leave()
    await running
    assert server.metrics.registry.get_sample_value("saccade_bytes_in_flight") == 0
    again = server.exchange(text("x" * 2500))
    running = again.start()
    await settled()
    assert server.inner.num_running == 1
    again.leave()
    await running


async def test_pictures_that_are_fetched_count_too() -> None:
    size = len(Server().fetcher.pictures["http://a/12x8"])
    one, two = (
        json.dumps(about(*urls)).encode().ljust(1024)
        for urls in (["http://a/12x8"], ["http://a/12x8", "http://a/6x4"])
    )
    server = Server(max_bytes_in_flight=1024 + size, max_body_bytes=1024)
    assert (await server.send(one)).status == 200
    assert (await server.send(two)).status == 413
    assert server.metrics.registry.get_sample_value("saccade_bytes_in_flight") == 0


async def test_a_body_is_held_only_until_it_was_read() -> None:
    size = len(Server().fetcher.pictures["http://a/12x8"])
    reached = asyncio.Event()

    async def say_so(receive: Receive, send: Send) -> None:
        reached.set()
        await never(receive, send)

    server = Server(Inner(say_so))
    exchange = server.exchange(about("http://a/12x8", user="x" * 500))
    running = exchange.start()
    async with asyncio.timeout(5):
        await reached.wait()
    assert server.metrics.registry.get_sample_value("saccade_bytes_in_flight") == size
    exchange.leave()
    await running


async def test_a_body_that_is_announced_too_large_is_refused_unread() -> None:
    server = Server(max_body_bytes=1024)
    exchange = server.exchange(text(), headers={"content-length": "2000"})
    await exchange.run()
    assert (exchange.status, exchange.num_received) == (413, 0)


async def test_a_long_body_lets_others_run_between_its_chunks() -> None:
    server = Server()
    raw = b'{"messages": [], "user": "' + b"x" * 500_000 + b'"}'
    chunks = [raw[start : start + 50_000] for start in range(0, len(raw), 50_000)]
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    await server.exchange(b"", chunks=chunks).run()
    counter.cancel()
    assert turns >= len(chunks)
    assert server.inner.bodies[0]["user"] == "x" * 500_000
