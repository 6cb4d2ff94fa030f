import asyncio
import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.serving.errors import ClientError, InvalidRequestError, TooLargeError
from saccade.serving.media.fetch import ByteBudget, MediaFetcher
from tests.unit.media.fetching import BODY, PARAM, fetch, limits, refusal
from tests.unit.media.server import Names, Network, PictureServer, redirect, response


async def test_an_http_picture_arrives(server: PictureServer) -> None:
    server.routes["/a.png?x=1"] = response(BODY)
    async with MediaFetcher(limits()) as fetcher:
        assert await fetch(fetcher, f"  {server.url('/a.png?x=1')}#fragment\n") == BODY
    head = server.heads[0].lower()
    assert f"host: 127.0.0.1:{server.port}\r\n" in head
    assert "accept-encoding: identity\r\n" in head


async def test_pictures_in_the_request_need_no_network() -> None:
    text = base64.b64encode(BODY).decode()
    async with MediaFetcher(limits(), resolve=Names({})) as fetcher:
        assert await fetch(fetcher, text) == BODY
        assert await fetch(fetcher, f"data:image/png;base64,{text}") == BODY
        assert (await refusal(fetcher, "data:image/png,abc")).code == "invalid_base64"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.png",
        "gopher://127.0.0.1:70/",
        "ws://127.0.0.1/",
        "blob:http://127.0.0.1/x",
        "javascript:alert(1)",
        "C:\\picture.png",
        ":",
        "localhost:8000/a.png",
    ],
)
async def test_other_schemes_are_refused(url: str) -> None:
    async with MediaFetcher(limits()) as fetcher:
        assert (await refusal(fetcher, url)).code == "unsupported_url_scheme"


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///a.png",
        "http:a.png",
        "http://[::1/",
        "http://[fe80::1%25lo]/",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:-1/",
        "http://a\nb/",
        "http://a/\ud800",
        "http://\ud800/",
        "http://.../",
        "https://.example.com/",
        "https://a..b/",
        "http://" + "a" * 70_000,
    ],
)
async def test_malformed_urls_are_refused(url: str) -> None:
    async with MediaFetcher(limits()) as fetcher:
        assert (await refusal(fetcher, url)).code == "invalid_image_url"


class Anywhere:
    """Every name resolves, so that every URL gets as far as it can."""

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        return ["8.8.8.8"]


@settings(deadline=None)
@given(
    st.sampled_from(["http:", "http://", "https://", "HTTP://a:80", "http://[", "//", "a:", ""]),
    st.text(max_size=20) | st.text("ab.:@/%[]#?\\-_0127xX\u3002\u00ad\ud800", max_size=20),
)
async def test_any_url_is_fetched_or_the_clients_error(start: str, rest: str) -> None:
    answers = Network(PictureServer(), unreachable=["8.8.8.8"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with MediaFetcher(
        limits(), resolve=Anywhere(), network=answers, ssl_context=context
    ) as fetcher:
        with contextlib.suppress(ClientError):
            await fetch(fetcher, start + rest)
    assert set(answers.connected) <= {"8.8.8.8"}


async def test_credentials_in_a_url_are_refused(server: PictureServer) -> None:
    async with MediaFetcher(limits()) as fetcher:
        for user in ("good", "good:pass", ":pass"):
            url = server.url("/").replace("//", f"//{user}@")
            assert (await refusal(fetcher, url)).code == "image_url_forbidden"
    assert server.heads == []


# Sizes


async def test_a_body_of_just_the_limit_arrives(server: PictureServer) -> None:
    server.routes["/"] = response(BODY)
    async with MediaFetcher(limits(max_bytes=len(BODY))) as fetcher:
        assert await fetch(fetcher, server.url("/")) == BODY


async def test_a_large_content_length_is_refused_before_the_body(server: PictureServer) -> None:
    server.routes["/"] = response(b"", length=5001)  # nothing of the body ever comes
    async with MediaFetcher(limits()) as fetcher:
        error = await refusal(fetcher, server.url("/"))
    assert (type(error), error.code, error.status) == (TooLargeError, "image_too_large", 413)


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_endless_body_is_cut_at_the_limit(server: PictureServer, chunked: bool) -> None:
    sent = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n")
        writer.write(b"transfer-encoding: chunked\r\n\r\n" if chunked else b"\r\n")
        while True:
            writer.write((b"1000\r\n" + bytes(4096) + b"\r\n") if chunked else bytes(4096))
            await writer.drain()  # ends with ConnectionError when the client hangs up
            sent += 4096

    server.routes["/"] = endless
    async with MediaFetcher(limits()) as fetcher:
        assert (await refusal(fetcher, server.url("/"))).code == "image_too_large"
    assert sent < 50 * 2**20  # what sockets buffer, far from endless


async def test_a_content_length_that_promises_too_much_is_refused(server: PictureServer) -> None:
    server.routes["/"] = response(BODY, length=len(BODY) + 1)
    async with MediaFetcher(limits()) as fetcher:
        assert (await refusal(fetcher, server.url("/"))).code == "image_fetch_failed"


async def test_nothing_is_read_beyond_the_content_length(server: PictureServer) -> None:
    server.routes["/"] = response(BODY, length=100)
    async with MediaFetcher(limits()) as fetcher:
        assert await fetch(fetcher, server.url("/")) == BODY[:100]


async def test_all_pictures_of_a_request_share_a_budget(server: PictureServer) -> None:
    server.routes["/"] = response(BODY)
    budget = ByteBudget(2 * len(BODY) + 10)
    inline = base64.b64encode(BODY).decode()
    async with MediaFetcher(limits()) as fetcher:
        for url in (server.url("/"), inline):
            await fetcher.fetch(url, param=PARAM, budget=budget)
        for url in (server.url("/"), inline):
            with pytest.raises(TooLargeError) as caught:
                await fetcher.fetch(url, param=PARAM, budget=budget)
            assert caught.value.code == "images_too_large"


# Answers that are no picture


@pytest.mark.parametrize("status", [201, 204, 304, 404, 429, 500])
async def test_a_bad_status_is_passed_on_in_the_message(server: PictureServer, status: int) -> None:
    server.routes["/"] = response(status=status)
    async with MediaFetcher(limits()) as fetcher:
        error = await refusal(fetcher, server.url("/"))
    assert (error.code, error.status) == ("image_fetch_failed", 400)
    assert str(status) in error.message


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 6000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000,
        response(b"x", content_encoding="gzip"),
        b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_a_broken_answer_is_the_clients_error(server: PictureServer, answer: bytes) -> None:
    server.routes["/"] = answer
    async with MediaFetcher(limits()) as fetcher:
        assert (await refusal(fetcher, server.url("/"))).code == "image_fetch_failed"


async def test_a_closed_port_and_an_unknown_name_are_the_clients_errors() -> None:
    async with PictureServer() as server:
        closed = server.url("/")
    async with MediaFetcher(limits()) as fetcher:
        assert (await refusal(fetcher, closed)).code == "image_fetch_failed"
    async with MediaFetcher(limits(), resolve=Names({"empty.example": [[]]})) as fetcher:
        for host in ("unknown.example", "empty.example"):
            assert (await refusal(fetcher, f"http://{host}/")).code == "image_fetch_failed"


async def test_a_label_that_no_name_server_would_take_is_the_clients_error() -> None:
    async with MediaFetcher(limits()) as fetcher:
        assert (await refusal(fetcher, f"http://{'a' * 64}.com/")).code == "image_fetch_failed"


# Time


async def test_a_slow_drip_is_cut_by_the_time_of_the_whole_transfer(server: PictureServer) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _byte in range(1000):  # in the end it would come whole
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    server.routes["/"] = drip
    async with MediaFetcher(limits(fetch_timeout_s=0.3)) as fetcher:
        error = await refusal(fetcher, server.url("/"))
    assert (error.code, error.status) == ("image_fetch_timeout", 400)


async def test_redirects_share_the_time(server: PictureServer) -> None:
    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(redirect("/"))

    server.routes["/"] = slow
    config = limits(fetch_timeout_s=0.5, max_redirects=20)
    async with MediaFetcher(config) as fetcher:
        assert (await refusal(fetcher, server.url("/"))).code == "image_fetch_timeout"


async def test_a_name_server_that_is_silent_blocks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def silent(*_: object, **__: object) -> list[object]:
        answered.wait(30)
        return []

    async with MediaFetcher(limits(fetch_timeout_s=0.1)) as fetcher:
        monkeypatch.setattr(socket, "getaddrinfo", silent)
        try:
            error = await refusal(fetcher, "http://slow.example/")
        finally:
            answered.set()
    assert error.code == "image_fetch_timeout"


# Concurrency


async def test_no_more_are_fetched_at_once_than_configured(server: PictureServer) -> None:
    running = most = 0
    two_run = asyncio.Event()

    async def together(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            two_run.set()
        await two_run.wait()  # the first one waits for a second beside it
        running -= 1
        writer.write(response(BODY))

    server.routes["/"] = together
    async with MediaFetcher(limits(max_concurrent_fetches=2)) as fetcher:
        bodies = await asyncio.gather(*(fetch(fetcher, server.url("/")) for _ in range(6)))
    assert bodies == [BODY] * 6
    assert most == 2


async def test_waiting_for_a_slot_is_not_held_against_the_host(server: PictureServer) -> None:
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(response(BODY))

    server.routes["/hang"] = hang
    server.routes["/"] = answer
    config = limits(max_concurrent_fetches=1, fetch_timeout_s=0.8)
    async with MediaFetcher(config) as fetcher:
        first = asyncio.create_task(refusal(fetcher, server.url("/hang")))
        await asked.wait()
        # Starts when the time of the first has run out, and has all of its own before it.
        assert await fetch(fetcher, server.url("/")) == BODY
        assert (await first).code == "image_fetch_timeout"


async def test_a_connection_serves_one_picture(server: PictureServer) -> None:
    hung_up = asyncio.Event()

    async def keep_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(response(BODY))
        assert await reader.read() == b""
        hung_up.set()

    server.routes["/"] = keep_alive
    async with MediaFetcher(limits()) as fetcher:
        assert await fetch(fetcher, server.url("/")) == BODY
        await hung_up.wait()


async def test_a_cancelled_fetch_hangs_up_and_frees_its_slot(server: PictureServer) -> None:
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.set()
        assert await reader.read() == b""
        hung_up.set()

    server.routes["/hang"] = hang
    server.routes["/"] = response(BODY)
    async with MediaFetcher(limits(max_concurrent_fetches=1)) as fetcher:
        task = asyncio.create_task(fetch(fetcher, server.url("/hang")))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await hung_up.wait()
        assert await fetch(fetcher, server.url("/")) == BODY


async def test_errors_are_of_the_clients_kind(server: PictureServer) -> None:
    server.routes["/"] = response(status=500)
    async with MediaFetcher(limits()) as fetcher:
        assert type(await refusal(fetcher, server.url("/"))) is InvalidRequestError
