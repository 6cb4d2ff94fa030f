"""Responses on their way out: our fields added, vLLM's internals removed, errors in one shape."""

import json
from typing import Any

from saccade.serving.api.asgi import Message, Send, with_header
from saccade.serving.api.envelope import error_body, send_error, translate
from saccade.serving.api.sanitise import STRIPPED_RESPONSE_FIELDS
from saccade.serving.gateway.context import RequestContext

_DONE = b"data: [DONE]"
_DATA = b"data: "


class ResponseRewriter:
    """Wraps `send` for one response. JSON is buffered and edited; an event stream is edited as it
    flows, without delay but for the events that end a choice, which wait for the next event."""

    def __init__(self, send: Send, context: RequestContext) -> None:
        self._send = send
        self._context = context
        self._start: Message | None = None
        self._streaming = False
        self._buffer = b""
        self._held: dict[str, Any] | None = None
        self.started = False
        """The response's status is on its way and can no longer change."""
        self.finished = False
        self._muted = False

    def mute(self) -> None:
        """Drop what the app still sends: its request has ended another way."""
        self._muted = True

    async def __call__(self, message: Message) -> None:
        if self._muted:
            return
        if message["type"] == "http.response.start":
            self._start = message
            content_type = dict(message["headers"]).get(b"content-type", b"")
            self._streaming = content_type.startswith(b"text/event-stream")
            if self._streaming:
                self.started = True
                await self._send(message)
        elif message["type"] == "http.response.body":
            if self._streaming:
                await self._stream(message)
            else:
                await self._collect(message)
        else:
            await self._send(message)

    async def fail_stream(self, error: dict[str, Any]) -> None:
        """End a stream that has begun with an error event."""
        body = self._flush() + _event(error) + _DONE + b"\n\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        self.finished = True

    async def _collect(self, message: Message) -> None:
        self._buffer += message.get("body", b"")
        if message.get("more_body"):
            return
        assert self._start is not None
        failed = self._context.error
        if self._start["status"] >= 400 and failed is not None:
            self.started = self.finished = True
            await send_error(self._send, failed)
            return
        status, body = self._edited_json(self._start["status"], self._buffer)
        headers = with_header(self._start["headers"], b"content-length", str(len(body)).encode())
        self.started = self.finished = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    def _edited_json(self, status: int, raw: bytes) -> tuple[int, bytes]:
        try:
            content = json.loads(raw)
        except ValueError:
            content = None
        if status >= 400:
            status, content = translate(status, content)
            return status, _dump(content)
        if not isinstance(content, dict):
            return status, raw
        self._edit(content)
        if self._context.explain:
            content["saccade"] = self._context.explanation()
        return status, _dump(content)

    async def _stream(self, message: Message) -> None:
        self._buffer += message.get("body", b"")
        *events, self._buffer = self._buffer.split(b"\n\n")
        out = b"".join(self._edited_event(event) for event in events)
        if not message.get("more_body"):
            out += self._flush() + self._buffer
            self.finished = True
        if out or self.finished:
            await self._send(
                {"type": "http.response.body", "body": out, "more_body": not self.finished}
            )

    def _edited_event(self, event: bytes) -> bytes:
        if event == _DONE:
            return self._flush() + event + b"\n\n"
        if not event.startswith(_DATA):
            return event + b"\n\n"
        ended = self._flush(last=False)
        if not _may_need_editing(event):
            return ended + event + b"\n\n"
        content = json.loads(event.removeprefix(_DATA))
        if "error" in content:
            failed = self._context.error
            code = content["error"].get("code") if isinstance(content["error"], dict) else None
            status = code if isinstance(code, int) else 500
            content = error_body(failed) if failed else translate(status, content)[1]
            return ended + _event(content)
        self._edit(content)
        if _ends_a_choice(content):
            self._held = content
            return ended
        return ended + _event(content)

    def _flush(self, *, last: bool = True) -> bytes:
        """The event that was held back; the last of the stream carries the explanation."""
        held, self._held = self._held, None
        if held is None:
            return b""
        if last and self._context.explain:
            held["saccade"] = self._context.explanation()
        return _event(held)

    def _edit(self, content: dict[str, Any]) -> None:
        for field in STRIPPED_RESPONSE_FIELDS:
            content.pop(field, None)
        usage = content.get("usage")
        if isinstance(usage, dict):
            usage["visual_tokens"] = self._context.num_visual_tokens
            usage["visual_tokens_kept"] = self._context.num_visual_tokens_kept
            if self._context.pruning_quality < 1:
                usage["pruning_quality"] = self._context.pruning_quality


def _may_need_editing(event: bytes) -> bool:
    """Cheap test before parsing; inside a JSON string each quote would be escaped."""
    return (
        b'"finish_reason":"' in event
        or b'"usage":{' in event
        or b'"error":' in event
        or b'_transfer_params":' in event
        or b'"choices":[]' in event
    )


def _ends_a_choice(content: dict[str, Any]) -> bool:
    choices = content.get("choices")
    return choices == [] or any(choice.get("finish_reason") for choice in choices or ())


def _event(content: Any) -> bytes:
    return _DATA + _dump(content) + b"\n\n"


def _dump(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
