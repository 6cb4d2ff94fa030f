import base64
import json
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from saccade.serving.cli.examples import curl_example
from saccade.serving.cli.main import app
from saccade.serving.media.inspect import inspect
from tests.unit.some_settings import some_settings

Handler = Callable[[httpx2.Request], httpx2.Response]
STAGES = [{"stage": "decode", "instance": "llm-1", "ms": 12.5}]


class FakeServer:
    """Stands where `saccade chat` connects to."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.events: list[Any] = [
            {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
            {"choices": [{"delta": {"content": "It is "}}]},
            {"choices": [{"delta": {"content": "red."}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {}, "saccade": {"stages": STAGES}},
        ]
        self.refusal: tuple[int, Any] | None = None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.refusal is not None:
            status, content = self.refusal
            return httpx2.Response(status, json=content)
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json={"data": [{"id": "first"}, {"id": "second"}]})
        data = [f"data: {json.dumps(event)}\n\n" for event in self.events]
        stream = ": keep-alive\n\n" + "".join(data) + "data: [DONE]\n\n"
        return httpx2.Response(200, text=stream)

    @property
    def body(self) -> Any:
        return json.loads(self.requests[-1].content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    server = FakeServer()
    _connect_to(server, monkeypatch)
    return server


def _connect_to(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    client = partial(httpx2.Client, transport=httpx2.MockTransport(handler))
    monkeypatch.setattr(httpx2, "Client", client)


def chat(*arguments: str, **variables: str) -> Result:
    return CliRunner(env=variables).invoke(app, ["chat", *arguments])


def test_the_answer_is_printed_and_nothing_else(server: FakeServer) -> None:
    result = chat("What colour is it?")
    assert result.exit_code == 0, result.output
    assert result.stdout == "It is red.\n"
    assert server.body["model"] == "first"
    assert server.body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "What colour is it?"}]}
    ]
    assert server.body["stream"] is True


def test_the_stages_go_to_stderr(server: FakeServer) -> None:
    result = chat("What?", "--explain")
    assert server.body["saccade"] == {"explain": True}
    assert result.stdout == "It is red.\n"
    assert result.stderr.split() == ["decode", "llm-1", "12.5", "ms"]


def test_pictures_come_before_the_question(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "circle.png"
    path.write_bytes(b"bytes of a picture")
    chat("What?", "--image", str(path), "-i", "http://a/b.png", "--system", "Be brief.")
    system, user = server.body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    *urls, question = [part.get("image_url", {}).get("url") for part in user["content"]]
    assert question is None
    data = base64.b64encode(b"bytes of a picture").decode()
    assert urls == [f"data:image/png;base64,{data}", "http://a/b.png"]


def test_a_picture_that_is_not_there_is_named(server: FakeServer) -> None:
    result = chat("What?", "--image", "missing.png")
    assert result.exit_code == 2
    assert "missing.png: No such file" in result.stderr
    assert server.requests == []


def test_the_key_comes_from_the_environment(server: FakeServer) -> None:
    chat("What?", "--model", "m", SACCADE_API_KEY="sk-1")
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer sk-1"]
    assert server.body["model"] == "m"


@pytest.mark.parametrize("arguments", [[], ["--model", "m"]])
def test_a_refusal_is_told_in_the_servers_words(server: FakeServer, arguments: list[str]) -> None:
    server.refusal = (401, {"error": {"message": "No API key was given."}})
    result = chat("What?", *arguments)
    assert (result.exit_code, result.stderr) == (1, "saccade: No API key was given.\n")


def test_an_error_in_the_middle_of_an_answer_is_told(server: FakeServer) -> None:
    server.events = [*server.events[:2], {"error": {"message": "too late", "code": "x"}}]
    result = chat("What?")
    assert result.exit_code == 1
    assert result.stdout == "It is \n"
    assert result.stderr == "saccade: too late\n"


def test_something_else_than_our_server_is_told_by_its_status(server: FakeServer) -> None:
    server.refusal = (502, ["bad gateway"])
    assert "status 502" in chat("What?").stderr


def test_without_a_server_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    _connect_to(refuse, monkeypatch)
    result = chat("What?")
    assert result.exit_code == 1
    assert "saccade serve" in result.stderr


@pytest.mark.parametrize("url", ["http://[::1", "nonsense", "ftp://a", "http://a:port"])
def test_a_url_that_is_none_is_a_message(url: str) -> None:
    result = chat("What?", "--url", url)
    assert result.exit_code in (1, 2), result.exception
    assert result.stderr.startswith("saccade: ")
    assert url in result.stderr


def test_the_example_to_copy_is_a_shell_command_with_a_good_picture() -> None:
    words = shlex.split(curl_example(some_settings(), "http://127.0.0.1:8000"))
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:8000/v1/chat/completions"]
    body = json.loads(words[words.index("-d") + 1])
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    header = inspect(data, max_pixels=10_000, max_side=100, param=None)
    assert (header.format, header.width, header.height) == ("PNG", 48, 48)


def test_the_example_to_copy_is_text_where_no_pictures_are_served() -> None:
    settings = some_settings(instances={"llm": {"roles": ["prefill", "decode"]}})
    assert "image_url" not in curl_example(settings, "http://a")


def test_the_example_to_copy_names_the_key_only_where_there_are_keys() -> None:
    keys = [{"key": "sk-12345678", "tenant": "one"}]
    with_key = curl_example(some_settings(api={"keys": keys}), "http://a")
    assert "Authorization: Bearer YOUR_KEY" in with_key
    assert "sk-12345678" not in with_key
    assert "Authorization" not in curl_example(some_settings(), "http://a")
