"""Logs name requests, never what is in them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from saccade.serving.api.asgi import send_json
from saccade.serving.config.settings import LogConfig
from saccade.serving.logs import configure_logging
from tests.unit.api.guarding import CHAT, Inner, Server, about, answer, text

KEY = "sk-12345678"
PICTURE = "data:image/png;base64,aVZCT1J3MEtHZ28="
URL = "http://a/6x4"
SECRETS = (KEY, "sk-unknown-key", "my diary", "aVZCT1J3MEtHZ28", URL, "what it answered")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that a gateway logs at its most talkative, as JSON."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    names = ("saccade", "uvicorn", "opentelemetry")
    before = {name: logging.getLogger(name).__dict__.copy() for name in names}
    configure_logging(LogConfig(level="debug", format="json"))
    yield stream
    for name, state in before.items():
        logging.getLogger(name).__dict__.update(state)
        logging.getLogger(name).setLevel(state["level"])


async def answers(receive: Any, send: Any) -> None:
    message = {"role": "assistant", "content": "what it answered"}
    await send_json(send, 200, {"choices": [{"index": 0, "message": message}]})


async def fails(_: Any, __: Any) -> None:
    raise RuntimeError("broken")


@pytest.mark.parametrize("behaviour", [answer, answers, fails])
async def test_neither_keys_nor_prompts_nor_pictures_are_logged(
    log: io.StringIO, behaviour: Any
) -> None:
    server = Server(Inner(behaviour), keys=[{"key": KEY, "tenant": "one"}])
    server.fetcher.pictures[PICTURE] = b"no picture"
    known = {"authorization": f"Bearer {KEY}", "x-request-id": "request-1"}
    bodies: list[Any] = [
        text("my diary"),
        about(URL),
        about(PICTURE),
        {"messages": "my diary"},
        b'{"my diary": ',
    ]
    for body in bodies:
        await server.send(body, headers=known)
    await server.send(text("my diary"), headers={"authorization": "Bearer sk-unknown-key"})
    await server.send(text(), "/my%20route", headers=known)
    logged = log.getvalue()
    assert not [secret for secret in SECRETS if secret in logged]
    lines = [json.loads(line) for line in logged.splitlines()]
    accesses = [line for line in lines if "status" in line]
    assert len(accesses) == len(bodies) + 2
    assert accesses[0]["request_id"] == "request-1"
    assert accesses[0]["tenant"] == "one"
    assert CHAT in accesses[0]["message"]
