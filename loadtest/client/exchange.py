"""One request and its answer, filled in as it goes on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from saccade.loadtest.records import ErrorKind

DONE = b"[DONE]"


class _Message(msgspec.Struct):
    """Of a choice: what it adds, or all of it."""

    content: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: Any = None
    refusal: Any = None


class _Choice(msgspec.Struct):
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    """The fields of a chunk, or of a whole answer, that are looked at. Others are skipped."""

    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    saccade: dict[str, Any] | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Answer).decode


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
        self._take(_answer(data), now_ns)

    def on_body(self, data: bytes, now_ns: int) -> None:
        """Take a whole answer that was not streamed.

        Raises:
            FailedError: it reports an error, or is not JSON.
        """
        self._take(_answer(data), now_ns)
        self.complete = True

    @property
    def answer(self) -> str:
        """Text of the content, without reasoning and tool calls."""
        return "".join(self.texts)

    def _take(self, answer: _Answer, now_ns: int) -> None:
        if answer.error is not None:
            raise FailedError(ErrorKind.STREAM_ERROR, error_text({"error": answer.error}))
        if answer.usage:
            self.usage = answer.usage
        if answer.saccade:
            self.extension = answer.saccade
        has_content = False
        for choice in answer.choices or ():
            has_content |= self._take_message(choice.delta or choice.message)
            if choice.finish_reason:
                self.finish_reason = choice.finish_reason
                self.complete = True
        if has_content:
            self.content_ns.append(now_ns)

    def _take_message(self, message: _Message | None) -> bool:
        """Whether there is anything in it that a user would see come."""
        if message is None:
            return False
        text = message.content
        if text:
            if isinstance(text, str):
                self.texts.append(text)
            return True
        return bool(
            message.reasoning_content or message.reasoning or message.tool_calls or message.refusal
        )


def error_text(body: Mapping[str, Any]) -> str:
    """The message of an error object, in any of the shapes that servers use."""
    error = body.get("error", body)
    if isinstance(error, Mapping):
        return str(error.get("message", error))
    return str(error)


def _answer(data: bytes) -> _Answer:
    try:
        return _decode(data)
    except msgspec.ValidationError as error:
        raise FailedError(ErrorKind.PROTOCOL, f"{error}: {data[:200]!r}") from None
    except (ValueError, RecursionError):
        return _leniently(data)


def _leniently(data: bytes) -> _Answer:
    """json takes what JSON does not have, such as NaN among the log probabilities."""
    try:
        return msgspec.convert(json.loads(data), _Answer)
    except (ValueError, RecursionError):
        raise FailedError(ErrorKind.PROTOCOL, f"not a JSON object: {data[:200]!r}") from None
