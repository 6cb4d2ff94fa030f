"""HTTP as it is served: TLS, mutual TLS, and heads of requests without end."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import uvicorn

from saccade.serving.api import http_limits
from saccade.serving.api.asgi import Receive, Scope, Send, send_json
from saccade.serving.api.tls import ServerTls, TlsError
from saccade.serving.config.tls import TlsConfig
from saccade.serving.server import http_config
from tests.unit.api.certificates import Authority


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says how long the body was."""
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{event}"
            await send({"type": f"lifespan.{event}.complete"})
        return
    num_bytes, more = 0, True
    while more:
        message = await receive()
        num_bytes += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send_json(send, 200, {"body": num_bytes, "scheme": scope["scheme"]})


@contextlib.asynccontextmanager
async def serving(tls: ServerTls | None = None) -> AsyncIterator[int]:
    """The port of a server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(http_config(app, tls))
        running = asyncio.create_task(server._serve(sockets=[listener]))
        async with asyncio.timeout(30):
            while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


# TLS -------------------------------------------------------------------------------------------


def client_context(authority: Authority, files: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.path)
    context.check_hostname = False  # the address is 127.0.0.1
    if files is not None:
        context.load_cert_chain(*files)
    return context


async def get(port: int, context: ssl.SSLContext) -> httpx2.Response:
    async with httpx2.AsyncClient(verify=context, timeout=30) as client:
        return await client.get(f"https://127.0.0.1:{port}/")


def config(files: tuple[Path, Path], client_ca: Path | None = None) -> TlsConfig:
    return TlsConfig(certificate=files[0], key=files[1], client_ca=client_ca)


async def test_with_a_certificate_https_is_served_and_http_is_not(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    tls = ServerTls(config(authority.give("gateway")))
    async with serving(tls) as port:
        assert (await get(port, client_context(authority))).json()["scheme"] == "https"
        with pytest.raises(httpx2.ConnectError):
            await get(port, client_context(Authority(tmp_path, "another")))
        async with httpx2.AsyncClient(timeout=30) as client:
            with pytest.raises(httpx2.HTTPError):
                await client.get(f"http://127.0.0.1:{port}/")


async def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    tls = ServerTls(config(authority.give("gateway")))
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_with_mutual_tls_only_clients_of_the_authority_are_let_in(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    tls = ServerTls(config(ours.give("gateway"), client_ca=ours.path))
    async with serving(tls) as port:
        known = client_context(ours, ours.give("client"))
        assert (await get(port, known)).status_code == 200
        for files in (None, theirs.give("stranger")):
            with pytest.raises(httpx2.HTTPError):
                await get(port, client_context(ours, files))


async def test_a_new_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    files = authority.give("gateway")
    tls = ServerTls(config(files))

    async def shown(port: int) -> bytes:
        context = client_context(authority)
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return bytes(found)

    async with serving(tls) as port:
        before = await shown(port)
        tls.reload()
        assert await shown(port) == before
        authority.give("gateway")
        tls.reload()
        after = await shown(port)
        assert after != before
        files[1].write_text("half a key", encoding="ascii")
        tls.reload()
        assert await shown(port) == after


@pytest.mark.parametrize("wrong", ["missing", "no certificate", "another key", "no authority"])
def test_what_cannot_be_used_is_named(tmp_path: Path, wrong: str) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.give("gateway")
    client_ca = None
    if wrong == "missing":
        certificate.unlink()
    elif wrong == "no certificate":
        certificate.write_text("nothing", encoding="ascii")
    elif wrong == "another key":
        key = authority.give("other")[1]
    else:
        client_ca = key
    with pytest.raises(TlsError, match=str(tmp_path)) as caught:
        ServerTls(config((certificate, key), client_ca))
    assert "PRIVATE KEY" not in str(caught.value)


# Heads -----------------------------------------------------------------------------------------


async def exchange(port: int, *pieces: bytes) -> bytes:
    """What comes back until the server closes, or answers and waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = b""
    try:
        async with asyncio.timeout(30):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
            while piece := await reader.read(65536):
                found += piece
                if b'"scheme"' in found:
                    break
    except ConnectionError:
        pass
    finally:
        writer.close()
    return found


ENDLESS = b"x-long: " + b"a" * http_limits.MAX_HEAD_BYTES
GET = b"GET / HTTP/1.1\r\nhost: a\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (GET, ENDLESS),
        (GET, *[b"x-%d: %s\r\n" % (number, b"a" * 4000) for number in range(17)]),
        (GET + ENDLESS + b"\r\n\r\n",),
        (b"GET /" + b"a" * http_limits.MAX_HEAD_BYTES,),
    ],
    ids=["one header without end", "many headers", "in one piece", "a long address"],
)
async def test_a_head_that_is_too_long_is_refused_before_it_ends(pieces: list[bytes]) -> None:
    async with serving() as port:
        found = await exchange(port, *pieces)
        assert found.startswith(b"HTTP/1.1 431 ")
        assert b'"code":"headers_too_large"' in found
        assert found.count(b"HTTP/1.1") == 1
        assert b" 200 " in await exchange(port, GET + b"\r\n")


async def test_a_body_may_be_longer_than_any_head() -> None:
    async with serving() as port, httpx2.AsyncClient(timeout=30) as client:
        for num_bytes in (10, 10 * http_limits.MAX_HEAD_BYTES, 0):
            answer = await client.post(f"http://127.0.0.1:{port}/", content=b"a" * num_bytes)
            assert answer.json()["body"] == num_bytes


async def test_a_head_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "HEAD_TIMEOUT_S", 0.2)
    async with serving() as port:
        assert await exchange(port) == b""
        assert await exchange(port, GET) == b""
        assert b" 200 " in await exchange(port, GET + b"\r\n")
