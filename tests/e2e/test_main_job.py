"""A picture and a question through encode, prefill and decode, with the stock client."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import openai
import pytest

from tests.e2e.server import ROOT, Server
from tests.integration.pictures import data_url, drawn
from tests.integration.stock_vllm import ask_stock_vllm

pytestmark = pytest.mark.slow

MODEL = "saccade-tiny"
MAX_TOKENS = 24
VISUAL_TOKENS = 144


def picture(seed: int) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(drawn(seed))}}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "text only": [{"role": "user", "content": "Name a colour."}],
    "one picture": [user(picture(1), words("What colour is the circle?"))],
    "two pictures": [user(picture(2), words("and"), picture(3), words("Are they the same?"))],
    "the same picture twice": [user(picture(4), picture(4), words("Same?"))],
    "several turns": [
        user(picture(5), words("What shape is it?")),
        {"role": "assistant", "content": "A square."},
        user(words("And what colour?")),
    ],
    "pictures in two turns": [
        {"role": "system", "content": "You are brief."},
        user(picture(6), words("What is this?")),
        {"role": "assistant", "content": "red"},
        user(picture(7), words("And this?")),
    ],
}


@pytest.fixture(scope="module")
def stock_answers(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What plain vLLM makes of the conversations, given the pictures themselves."""
    answers = ask_stock_vllm(
        ROOT / ".cache/saccade-tiny",
        list(CONVERSATIONS.values()),
        max_tokens=MAX_TOKENS,
        out=tmp_path_factory.mktemp("stock"),
    )["answers"]
    return dict(zip(CONVERSATIONS, answers, strict=True))


def ask(client: openai.OpenAI, messages: Any, **extra: Any) -> Any:
    body = {"return_token_ids": True, **extra.pop("extra_body", {})}
    return client.chat.completions.create(
        model=MODEL,
        messages=messages,
        temperature=0,
        max_tokens=extra.pop("max_tokens", MAX_TOKENS),
        extra_body=body,
        **extra,
    )


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_greedy_tokens_equal_those_of_stock_vllm(
    name: str, client: openai.OpenAI, stock_answers: dict[str, dict[str, Any]]
) -> None:
    response = ask(client, CONVERSATIONS[name])
    stock = stock_answers[name]
    assert response.choices[0].model_extra["token_ids"] == stock["token_ids"]
    assert response.model_extra["prompt_token_ids"] == stock["prompt_token_ids"]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_streamed_text_equals_the_whole_answer(name: str, client: openai.OpenAI) -> None:
    whole = ask(client, CONVERSATIONS[name]).choices[0].message.content
    stream = ask(client, CONVERSATIONS[name], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole


def test_each_stage_ran_in_its_own_instance(client: openai.OpenAI, server: Server) -> None:
    before = {
        name: server.metric(name)
        for name in (
            "saccade_kv_transfers_total",
            'saccade_visual_tokens_total{stage="in"}',
            'saccade_visual_tokens_total{stage="kept"}',
        )
    }
    explain = {"saccade": {"explain": True}}
    response = ask(client, [user(picture(77), words("What is it?"))], extra_body=explain)
    stages = response.model_extra["saccade"]["stages"]
    assert [stage["stage"] for stage in stages] == ["preprocess", "encode", "prefill", "decode"]
    assert len({stage["instance"] for stage in stages[1:]}) == 3
    assert all(stage["ms"] > 0 for stage in stages)
    grown = {name: server.metric(name) - value for name, value in before.items()}
    assert list(grown.values()) == [1, VISUAL_TOKENS, VISUAL_TOKENS]


def test_the_explanation_is_in_the_last_chunk_of_a_stream(client: openai.OpenAI) -> None:
    for seed, options in ((78, None), (79, {"include_usage": True})):
        chunks = list(
            ask(
                client,
                [user(picture(seed), words("What is it?"))],
                stream=True,
                stream_options=options,
                extra_body={"saccade": {"explain": True}},
            )
        )
        explained = [chunk for chunk in chunks if "saccade" in (chunk.model_extra or {})]
        assert explained == chunks[-1:]
        assert len(explained[0].model_extra["saccade"]["stages"]) == 4


def test_usage_counts_what_the_llm_saw(client: openai.OpenAI) -> None:
    text = ask(client, CONVERSATIONS["text only"]).usage
    both = ask(client, CONVERSATIONS["two pictures"]).usage
    assert (text.visual_tokens, text.visual_tokens_kept) == (0, 0)
    assert (both.visual_tokens, both.visual_tokens_kept) == (2 * VISUAL_TOKENS,) * 2
    assert both.prompt_tokens > 2 * VISUAL_TOKENS
    *_, last = ask(
        client, CONVERSATIONS["one picture"], stream=True, stream_options={"include_usage": True}
    )
    assert last.choices == []
    assert last.usage.visual_tokens == VISUAL_TOKENS
    assert last.usage.completion_tokens == MAX_TOKENS


def test_the_same_picture_again_hits_the_prefix_cache(client: openai.OpenAI) -> None:
    """Counted where the prompt is prefilled, reported by the instance that decodes."""
    conversation = [user(picture(1234), words("Once more?"))]
    first, second = (
        ask(client, conversation).usage.prompt_tokens_details.cached_tokens for _ in range(2)
    )
    assert first == 0
    assert second >= VISUAL_TOKENS // 32 * 32


def test_many_at_once_answer_as_they_do_alone(client: openai.OpenAI) -> None:
    def tokens(conversation: list[dict[str, Any]]) -> list[int]:
        answer: list[int] = ask(client, conversation).choices[0].model_extra["token_ids"]
        return answer

    conversations = [*CONVERSATIONS.values()] * 3
    alone = [tokens(conversation) for conversation in CONVERSATIONS.values()] * 3
    with ThreadPoolExecutor(len(conversations)) as pool:
        assert list(pool.map(tokens, conversations)) == alone


class _Pictures(BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        body = self.files.get(self.path)
        self.send_response(200 if body else 404)
        self.send_header("content-length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Not into the test output."""


@pytest.fixture(scope="module")
def picture_server() -> Iterator[str]:
    """Serves drawn(1) by http on loopback, in several formats."""
    for kind in ("PNG", "WEBP", "GIF", "JPEG"):
        data = BytesIO()
        drawn(1).save(data, kind, **({"lossless": True} if kind == "WEBP" else {}))
        _Pictures.files[f"/picture.{kind.lower()}"] = data.getvalue()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pictures) as httpd:
        thread = Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_picture_by_url_answers_as_the_same_picture_in_the_request(
    kind: str, client: openai.OpenAI, picture_server: str
) -> None:
    by_url = {"type": "image_url", "image_url": {"url": f"{picture_server}/picture.{kind}"}}
    question = words("What colour is the circle?")
    answers = [
        ask(client, [user(part, question)]).choices[0].message.content
        for part in (by_url, picture(1))
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("kind", ["gif", "jpeg"])
def test_lossy_formats_are_answered(kind: str, client: openai.OpenAI, picture_server: str) -> None:
    part = {"type": "image_url", "image_url": {"url": f"{picture_server}/picture.{kind}"}}
    assert ask(client, [user(part, words("What is it?"))]).choices[0].message.content


def test_exif_orientation_is_honoured(client: openai.OpenAI) -> None:
    upright = drawn(8)
    turned = upright.rotate(90, expand=True)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown after a turn of 90 degrees clockwise
    data = BytesIO()
    turned.save(data, "PNG", exif=exif)
    import base64

    url = "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
    answers = [
        ask(client, [user({"type": "image_url", "image_url": {"url": u}}, words("What?"))])
        for u in (url, data_url(upright))
    ]
    first, second = (a.choices[0].model_extra["token_ids"] for a in answers)
    assert first == second


def test_the_terminal_command_gives_the_same_answer(
    client: openai.OpenAI, server: Server, tmp_path: Path
) -> None:
    import subprocess

    from tests.e2e.server import SACCADE

    file = tmp_path / "picture.png"
    drawn(80).save(file)
    done = subprocess.run(
        [*SACCADE, "chat", "--url", server.url, "--image", str(file), "--explain",
         "--max-tokens", str(MAX_TOKENS), "What colour is the circle?"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    same = [user(picture(80), words("What colour is the circle?"))]
    expected = ask(client, same).choices[0].message.content
    assert done.stdout.rstrip("\n") == expected.rstrip("\n")
    assert [line.split()[0] for line in done.stderr.splitlines()] == [
        "preprocess", "encode", "prefill", "decode",
    ]  # fmt: skip
