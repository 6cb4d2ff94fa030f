"""One request and its answer, filled in as it goes on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from saccade.loadtest.records import ErrorKind

DONE = b"[DONE]"

# A sixth of json's time for a chunk. It is stricter: what it refuses, such as NaN, json may take.
_decode = msgspec.json.Decoder().decode


class FailedError(Exception):
    """Ends an exchange with an error."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        self.kind = kind
        self.message = message[:500]
        super().__init__(message)


@dataclass(slots=True)
class Exchange:
    """What was seen of an answer. Times are of the monotonic clock, in ns."""

    sent_ns: int | None = None
    headers_ns: int | None = None
    content_ns: list[int] = field(default_factory=list)
    end_ns: int | None = None
    http_status: int | None = None
    finish_reason: str | None = None
    complete: bool = False
    usage: Mapping[str, Any] | None = None
    extension: Mapping[str, Any] | None = None
    """The object `saccade` of the answer."""
    texts: list[str] = field(default_factory=list)

    def on_event(self, data: bytes, now_ns: int) -> None:
        """Take one event of a stream.

        Raises:
            FailedError: it reports an error, or is not JSON.
        """
        if data == DONE:
            self.complete = True
            return
        chunk = _object(data)
        self._take_common(chunk)
        has_content = False
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            has_content |= self._take_message(delta)
            self._take_finish(choice)
        if has_content:
            self.content_ns.append(now_ns)

    def on_body(self, data: bytes, now_ns: int) -> None:
        """Take a whole answer that was not streamed.

        Raises:
            FailedError: it reports an error, or is not JSON.
        """
        answer = _object(data)
        self._take_common(answer)
        choices = answer.get("choices") or ()
        has_content = False
        for choice in choices:
            has_content |= self._take_message(choice.get("message") or {})
            self._take_finish(choice)
        if has_content:
            self.content_ns.append(now_ns)
        self.complete = True

    @property
    def answer(self) -> str:
        """Text of the content, without reasoning and tool calls."""
        return "".join(self.texts)

    def _take_common(self, chunk: Mapping[str, Any]) -> None:
        if "error" in chunk:
            raise FailedError(ErrorKind.STREAM_ERROR, error_text(chunk))
        usage = chunk.get("usage")
        if usage:
            self.usage = usage
        extension = chunk.get("saccade")
        if extension:
            self.extension = extension

    def _take_message(self, message: Mapping[str, Any]) -> bool:
        """Whether there is anything in it that a user would see come."""
        text = message.get("content")
        if text:
            self.texts.append(text)
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        return bool(text or reasoning or message.get("tool_calls") or message.get("refusal"))

    def _take_finish(self, choice: Mapping[str, Any]) -> None:
        reason = choice.get("finish_reason")
        if reason:
            self.finish_reason = reason
            self.complete = True


def error_text(body: Mapping[str, Any]) -> str:
    """The message of an error object, in any of the shapes that servers use."""
    error = body.get("error", body)
    if isinstance(error, Mapping):
        return str(error.get("message", error))
    return str(error)


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = _decode(data)
    except ValueError:
        value = _leniently(data)
    if not isinstance(value, dict):
        raise FailedError(ErrorKind.PROTOCOL, f"not a JSON object: {data[:200]!r}")
    return value


def _leniently(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None
