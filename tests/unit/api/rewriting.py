"""Responses as vLLM sends them, and what is left of them after rewriting."""

import json
from collections.abc import Iterable
from typing import Any

from saccade.serving.api.asgi import Message
from saccade.serving.api.rewrite import ResponseRewriter
from saccade.serving.gateway.context import RequestContext
from tests.unit.gateway.fakes import a_request

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


def a_context(*, explain: bool = False, num_pictures: int = 1) -> RequestContext:
    context = a_request(num_pictures)
    context.explain = explain
    context.record("prefill", "llm-0", 1.0)
    context.record("decode", "llm-1", 2.0)
    return context


def dump(content: Any) -> bytes:
    """As vLLM writes JSON."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def event(content: Any) -> bytes:
    return b"data: " + dump(content) + b"\n\n"


def chunk(text: str = "", *, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    """A chunk of a streamed chat completion."""
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return event({"id": "chatcmpl-1", "choices": [choice], **more})


def usage_chunk(prompt_tokens: int = 81) -> bytes:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 2, "total_tokens": 83}
    return event({"id": "chatcmpl-1", "choices": [], "usage": usage})


def start(content_type: str, status: int = 200, *headers: tuple[bytes, bytes]) -> Message:
    fixed = [(b"content-type", content_type.encode()), (b"x-of-vllm", b"1")]
    return {"type": "http.response.start", "status": status, "headers": [*fixed, *headers]}


class Sent:
    """What a rewriter gave out."""

    def __init__(self, context: RequestContext) -> None:
        self.messages: list[Message] = []
        self.rewriter = ResponseRewriter(self._send, context)

    async def _send(self, message: Message) -> None:
        self.messages.append(message)

    async def take(self, piece: bytes, *, more: bool = True) -> bytes:
        """Give one piece to the rewriter; returns what came out at once."""
        before = len(self.messages)
        await self.rewriter({"type": "http.response.body", "body": piece, "more_body": more})
        return b"".join(message.get("body", b"") for message in self.messages[before:])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


async def streamed(context: RequestContext, pieces: Iterable[bytes]) -> Sent:
    """A whole stream, sent in these pieces and ended by an empty one, as Starlette does."""
    sent = Sent(context)
    await sent.rewriter(start("text/event-stream; charset=utf-8"))
    for piece in pieces:
        await sent.take(piece)
    await sent.take(b"", more=False)
    return sent
