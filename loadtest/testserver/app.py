"""A chat API that answers by a script and notes when it wrote what. It runs no model.

It exists to test load testers, this one and others: the truth about every request is at GET /log.
"""

import asyncio
import json
from collections.abc import Iterator
from time import monotonic_ns
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from saccade.loadtest.testserver.script import FIELD, Script

NAME = "saccade-test-server"
"""Model and `Server` header."""

_NS_PER_S = 1_000_000_000
_MAX_BODY_BYTES = 2**28


class Note(dict[str, Any]):
    """What happened to a request: `received_ns`, `content_ns`, both of the monotonic clock."""


class TestServer:
    """Answers requests; `script` is for those that bring none."""

    __test__ = False  # no class of tests

    def __init__(self, script: Script) -> None:
        self._script = script
        self._log: dict[str, Note] = {}
        self._num_requests = 0

    def app(self) -> web.Application:
        """Routes: chat completions, models, metrics, and the log of what happened."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", _models)
        app.router.add_get("/health", _healthy)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/log", self._show_log)
        app.router.add_delete("/log", self._clear_log)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        received_ns = monotonic_ns()
        raw = await request.read()
        try:
            body = json.loads(raw)
            script = self._script
            if FIELD in body:
                script = Script.model_validate({**script.model_dump(), **body[FIELD]})
        except (ValueError, ValidationError) as error:
            return _error(400, str(error))
        self._num_requests += 1
        note = Note(received_ns=received_ns, content_ns=[], num_bytes=len(raw))
        self._log[request.headers.get("x-request-id", str(self._num_requests))] = note
        if script.status != 200:
            return _error(script.status, "the script says so")
        answer = _Answer(script, body, note)
        if body.get("stream"):
            return await answer.stream(request)
        return await answer.whole()

    async def _metrics(self, _: web.Request) -> web.Response:
        text = (
            "# HELP test_server_requests_total Requests so far.\n"
            "# TYPE test_server_requests_total counter\n"
            f"test_server_requests_total {self._num_requests}\n"
        )
        return web.Response(text=text)

    async def _show_log(self, _: web.Request) -> web.Response:
        return web.json_response(self._log)

    async def _clear_log(self, _: web.Request) -> web.Response:
        self._log.clear()
        return web.Response(status=204)


class _Answer:
    """One answer on its way."""

    def __init__(self, script: Script, body: dict[str, Any], note: Note) -> None:
        self._script = script
        self._note = note
        self._max_tokens = int(body.get("max_tokens") or body.get("max_completion_tokens") or 16)
        self._num_chunks = script.chunks_for(self._max_tokens)
        self._wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._prompt_tokens, self._visual_tokens = _count_prompt(body["messages"])
        self._word = "word " * script.tokens_per_chunk
        self._chunk = self._make_chunk()

    async def whole(self) -> web.Response:
        script = self._script
        await self._until(script.ttft_s + script.gap_s * max(0, self._num_chunks - 1))
        message = {"role": "assistant", "content": self._word * self._num_chunks}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        answer: dict[str, Any] = {"object": "chat.completion", "model": NAME, "choices": [choice]}
        if script.usage != "none":
            answer["usage"] = self._usage()
        self._note["content_ns"].append(monotonic_ns())
        return web.json_response(answer, headers={"server": NAME})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "server": NAME})
        await response.prepare(request)
        try:
            await self._write_stream(request, response)
        except ConnectionResetError:  # the client is gone, as some tests want it to be
            self._note["gone"] = True
        return response

    async def _write_stream(self, request: web.Request, response: web.StreamResponse) -> None:
        script = self._script
        await response.write(_event(_delta({"role": "assistant", "content": ""})))
        if script.empty_chunks:
            await self._until(script.ttft_s / 2)
            await response.write(_event(_delta({"content": ""})))
        breaks = (script.error_after, script.disconnect_after, script.stop_after)
        index = 0
        while not await self._broken(index, request, response):
            if index == self._num_chunks:
                await self._finish(response)
                return
            ends = [index + script.glue, self._num_chunks, *(b for b in breaks if b is not None)]
            last = min(end for end in ends if end > index)
            await self._until(script.ttft_s + script.gap_s * (last - 1))
            self._note["content_ns"] += [monotonic_ns()] * (last - index)
            await response.write(self._chunk * (last - index))
            index = last

    async def _broken(self, index: int, request: web.Request, response: web.StreamResponse) -> bool:
        """Whether the script lets the stream end here, after `index` chunks; then it has ended."""
        script = self._script
        if index == script.error_after:
            error = {"error": {"message": "the script says so", "type": "server_error"}}
            await response.write(_event(error))
            await response.write_eof()
        elif index == script.disconnect_after:
            assert request.transport is not None
            request.transport.abort()
        elif index != script.stop_after:
            return False
        return True

    def _make_chunk(self) -> bytes:
        comment = b": keep-alive\n\n" if self._script.comments else b""
        empty = _event(_delta({"content": ""})) if self._script.empty_chunks else b""
        return comment + empty + _event(_delta({"content": self._word}))

    async def _finish(self, response: web.StreamResponse) -> None:
        script = self._script
        last = _delta({}, finish_reason="length")
        if script.usage == "finish":
            last["usage"] = self._usage()
        await response.write(_event(last))
        if script.usage == "chunk" and self._wants_usage:
            await asyncio.sleep(script.usage_delay_s)
            await response.write(_event({"choices": [], "usage": self._usage()}))
        if script.done_marker:
            await response.write(b"data: [DONE]\n\n")

    async def _until(self, after_s: float) -> None:
        """Until this time after the request came."""
        due_ns = self._note["received_ns"] + after_s * _NS_PER_S
        await asyncio.sleep(max(0.0, (due_ns - monotonic_ns()) / _NS_PER_S))

    def _usage(self) -> dict[str, Any]:
        output = self._num_chunks * self._script.tokens_per_chunk
        if self._script.num_chunks is None:
            output = self._max_tokens
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": output,
            "total_tokens": self._prompt_tokens + output,
            "visual_tokens": self._visual_tokens,
        }


TOKENS_PER_PICTURE = 100
"""What the test server counts for every picture or video."""


def _count_prompt(messages: list[dict[str, Any]]) -> tuple[int, int]:
    """Words of all texts plus visual tokens, and the visual tokens."""
    texts: list[str] = []
    num_media = 0
    for part in _parts(messages):
        if part["type"] == "text":
            texts.append(part["text"])
        else:
            num_media += 1
    visual = num_media * TOKENS_PER_PICTURE
    return sum(len(text.split()) for text in texts) + visual, visual


def _parts(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            yield {"type": "text", "text": content}
        else:
            yield from content


def _delta(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "model": NAME, "choices": [choice]}


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _error(status: int, message: str) -> web.Response:
    body = {"error": {"message": message, "type": "test_server", "param": None, "code": None}}
    return web.json_response(body, status=status, headers={"server": NAME})


async def _healthy(_: web.Request) -> web.Response:
    return web.Response()


async def _models(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": NAME, "object": "model"}]})
