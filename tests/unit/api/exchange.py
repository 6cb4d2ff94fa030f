"""The server's side of one HTTP request to an ASGI app, in process."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from saccade.serving.api.asgi import App, Message, Scope


class Exchange:
    """A request and what came back; the client may leave at any time.

    Like a server, it goes on taking messages after the client has left, and drops them.
    """

    def __init__(
        self,
        app: App,
        path: str = "/v1/chat/completions",
        body: Any = b"",
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        chunks: Sequence[bytes] | None = None,
    ) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._app = app
        self._chunks = list(chunks if chunks is not None else [content])
        self._gone = asyncio.Event()
        self.scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [
                (name.lower().encode(), value.encode("latin-1"))
                for name, value in (headers or {}).items()
            ],
        }
        self.messages: list[Message] = []
        self.num_received = 0

    async def run(self) -> "Exchange":
        await self._app(self.scope, self._receive, self._send)
        return self

    def start(self) -> "asyncio.Task[Exchange]":
        return asyncio.create_task(self.run())

    def leave(self) -> None:
        self._gone.set()

    async def _receive(self) -> Message:
        if self._chunks:
            self.num_received += 1
            body = self._chunks.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self._chunks)}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if not self._gone.is_set():
            self.messages.append(message)

    @property
    def started(self) -> bool:
        return bool(self.messages)

    @property
    def complete(self) -> bool:
        """The response has a start, one end, and nothing after it."""
        kinds = [message["type"] for message in self.messages]
        ends = [not message.get("more_body", False) for message in self.messages[1:]]
        return (
            kinds[:1] == ["http.response.start"]
            and set(kinds[1:]) == {"http.response.body"}
            and ends == [False] * (len(ends) - 1) + [True]
        )

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        raw = [(name.decode(), value.decode()) for name, value in self.messages[0]["headers"]]
        headers = dict(raw)
        assert len(headers) == len(raw), f"a header twice: {raw}"
        return headers

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def json(self) -> Any:
        assert self.headers["content-length"] == str(len(self.body))
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The fields of an OpenAI error, checked for their shape."""
        return checked_error(self.json)

    @property
    def events(self) -> list[Any]:
        """The data events of a stream; text for what is not JSON."""
        return events_of(self.body)


def events_of(stream: bytes) -> list[Any]:
    data = [part[6:] for part in stream.split(b"\n\n") if part.startswith(b"data: ")]
    return [part.decode() if part == b"[DONE]" else json.loads(part) for part in data]


def checked_error(content: Any) -> dict[str, Any]:
    assert content.keys() == {"error"}
    error: dict[str, Any] = content["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    assert isinstance(error["code"], str)
    assert error["param"] is None or isinstance(error["param"], str)
    return error


async def send(
    app: App, path: str = "/v1/chat/completions", body: Any = b"", **more: Any
) -> Exchange:
    """A request whose client waits for the whole response."""
    return await Exchange(app, path, body, **more).run()


async def settled(turns: int = 20) -> None:
    """Let everything run that can."""
    for _ in range(turns):
        await asyncio.sleep(0)
