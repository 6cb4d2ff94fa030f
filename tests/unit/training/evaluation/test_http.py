"""Asking a server: what is sent, and what happens when it does not answer."""

import asyncio
import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from saccade.training.evaluation.answering import AnswerError, HttpAnswerer
from saccade.training.evaluation.items import Item, items


class _Server(ThreadingHTTPServer):
    bodies: list[dict[str, Any]]
    keys: list[str | None]
    status = 200


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": "some-model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        self.server.keys.append(self.headers["authorization"])
        texts = [part["text"] for part in body["messages"][0]["content"] if part["type"] == "text"]
        if self.server.status != 200:
            self._send(self.server.status, {"error": {"message": "no more pictures today"}})
        else:
            self._send(200, {"choices": [{"message": {"content": texts[0].upper()}}]})

    def _send(self, status: int, data: dict[str, Any]) -> None:
        payload = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.bodies, running.keys = [], []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _answers(answerer: HttpAnswerer, asked: list[Item]) -> dict[int, str]:
    async def collect() -> dict[int, str]:
        return {number: answer async for number, answer in answerer.answers(asked)}

    return asyncio.run(collect())


def _url(server: _Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_every_item_gets_its_own_answer(server: _Server) -> None:
    asked = list(items(("colour", "motion"), 3, seed=0))
    found = _answers(HttpAnswerer(_url(server), None, "secret", 2), asked)
    assert found == {n: item.question.text.upper() for n, item in enumerate(asked)}
    assert {body["model"] for body in server.bodies} == {"some-model"}
    assert set(server.keys) == {"Bearer secret"}


def test_pictures_are_sent_whole_before_or_after_the_text(server: _Server) -> None:
    asked = list(items(("count",), 2, seed=0))
    _answers(HttpAnswerer(_url(server), "m", None, 1), asked)
    by_text = {}
    for body in server.bodies:
        parts = body["messages"][0]["content"]
        by_text[next(p["text"] for p in parts if p["type"] == "text")] = parts
    orders = []
    for item in asked:
        parts = by_text[item.question.text]
        orders.append([p["type"] for p in parts])
        url = next(p["image_url"]["url"] for p in parts if p["type"] == "image_url")
        sent = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
        assert sent.tobytes() == item.pictures()[0].tobytes()
    assert orders == [["image_url", "text"], ["text", "image_url"]]


def test_a_refusal_is_told_in_the_servers_words(server: _Server) -> None:
    server.status = 429
    with pytest.raises(AnswerError, match="no more pictures today"):
        _answers(HttpAnswerer(_url(server), None, None, 4), list(items(("colour",), 6, seed=0)))


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(AnswerError, match="no server answers"):
        _answers(HttpAnswerer("http://127.0.0.1:9", None, None, 4), list(items(("colour",), 2, 0)))
