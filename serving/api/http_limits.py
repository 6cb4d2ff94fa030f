"""Bounds for what comes before a request's body, which uvicorn's parser does not have."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 2**10
HEAD_TIMEOUT_S = 20.0

_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
)
_BODY = (
    b'{"error":{"message":"The request line and headers are too long.",'
    b'"type":"invalid_request_error","param":null,"code":"headers_too_large"}}'
)


class _TooLongError(Exception):
    """The head is too long, and the refusal is on its way."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections whose request line and headers are too long, or take too long."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._num_head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            if self._head_timer is None:
                self._await_head()  # a further request on the same connection
            self._num_head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._num_head_bytes > MAX_HEAD_BYTES:
            self._refuse()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        num_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if num_bytes > MAX_HEAD_BYTES:
            # They came in one piece with the end of the head.
            self._refuse()
            raise _TooLongError  # ends the parser, which would go on to the body
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._num_head_bytes = 0
        super().on_message_complete()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        # Before the first request there is none.
        answering = not getattr(self.cycle, "response_complete", True)
        if self._in_head and not answering and not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_REFUSAL % (len(_BODY), _BODY))
            self.transport.close()
