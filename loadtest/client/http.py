"""Sends one chat completion and times what comes back."""

import asyncio
import json
from collections.abc import Mapping
from time import monotonic_ns

import aiohttp

from saccade.loadtest.client.exchange import Exchange, FailedError, error_text
from saccade.loadtest.client.sse import EventParser
from saccade.loadtest.records import ErrorKind

PATH = "/v1/chat/completions"

# Below uvicorn's default of 5 s: a connection that the server is about to close is not used.
_KEEP_ALIVE_S = 2.0


class ChatClient:
    """Connections to one server; as many at once as there are requests in flight."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        self._url = url + PATH
        self._timeout_s = timeout_s
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "content-type": "application/json",
                "accept-encoding": "identity",  # compression would hold chunks back
                **headers,
            },
            timeout=aiohttp.ClientTimeout(),
            read_bufsize=2**18,
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, body: bytes, request_id: str, exchange: Exchange) -> None:
        """Send a body and fill in the exchange.

        Raises:
            FailedError: whatever goes wrong; the exchange then has what came before.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._ask(body, request_id, exchange)
        except TimeoutError:
            raise FailedError(
                ErrorKind.TIMEOUT, f"not complete after {self._timeout_s:g} s"
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise FailedError(ErrorKind.CONNECT, str(error)) from None
        except aiohttp.ClientPayloadError:
            message = "the connection closed in the middle of the answer"
            raise FailedError(ErrorKind.DISCONNECT, message) from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, OSError) as error:
            raise FailedError(ErrorKind.DISCONNECT, str(error)) from None
        except aiohttp.ClientError as error:
            raise FailedError(ErrorKind.PROTOCOL, str(error)) from None
        finally:
            exchange.end_ns = monotonic_ns()

    async def _ask(self, body: bytes, request_id: str, exchange: Exchange) -> None:
        exchange.sent_ns = monotonic_ns()
        headers = {"x-request-id": request_id}
        async with self._session.post(self._url, data=body, headers=headers) as response:
            exchange.headers_ns = monotonic_ns()
            exchange.http_status = response.status
            if response.status != 200:
                raise _refusal(response.status, await response.read())
            if response.content_type == "text/event-stream":
                await _read_stream(response.content, exchange)
            else:
                data = await response.read()
                exchange.on_body(data, monotonic_ns())
        if not exchange.complete:
            message = "the stream ended without a finish reason"
            raise FailedError(ErrorKind.DISCONNECT, message)
        if not exchange.content_ns:
            raise FailedError(ErrorKind.EMPTY, "the answer has no content")


async def _read_stream(stream: aiohttp.StreamReader, exchange: Exchange) -> None:
    parser = EventParser()
    while received := await stream.readany():
        now_ns = monotonic_ns()
        for data in parser.feed(received):
            exchange.on_event(data, now_ns)
    for data in parser.finish():
        exchange.on_event(data, monotonic_ns())


def _refusal(status: int, data: bytes) -> FailedError:
    try:
        message = error_text(json.loads(data))
    except (ValueError, AttributeError, RecursionError):
        message = data[:200].decode(errors="replace")
    if status in (429, 503):
        kind = ErrorKind.REJECTED
    else:
        kind = ErrorKind.HTTP_SERVER if status >= 500 else ErrorKind.HTTP_CLIENT
    return FailedError(kind, f"{status}: {message}")
