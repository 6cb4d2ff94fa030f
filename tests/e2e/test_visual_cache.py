"""The visual-token cache, through the real API."""

import base64
import subprocess
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import openai
import pytest
from PIL import Image

from saccade.serving.api.lifting import MIN_LIFTED_BYTES
from tests.e2e.server import SACCADE, Server
from tests.integration.pictures import data_url, drawn

pytestmark = pytest.mark.slow

ENCODES = 'saccade_stage_seconds_count{stage="encode"}'
HITS = 'saccade_visual_cache_hits_total{tier="shared"}'
JOINS = "saccade_visual_cache_joins_total"


def ask(client: openai.OpenAI, seed: int, question: str = "What is it?", **part: Any) -> Any:
    return ask_about(client, data_url(drawn(seed)), question, **part)


def ask_about(client: openai.OpenAI, url: str, question: str = "What?", **part: Any) -> Any:
    picture = {"type": "image_url", "image_url": {"url": url}, **part}
    content: Any = [picture, {"type": "text", "text": question}]
    return client.chat.completions.create(
        model="saccade-tiny",
        messages=[{"role": "user", "content": content}],
        temperature=0,
        max_tokens=8,
        extra_body={"saccade": {"explain": True}},
    )


def encode_stage(response: Any) -> Any:
    [stage] = [one for one in response.saccade["stages"] if one["stage"] == "encode"]
    return stage


def saccade_cache(command: str, server: Server) -> str:
    done = subprocess.run(
        [*SACCADE, "cache", command, "--url", server.url],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_many_questions_about_one_picture_encode_it_once(
    server: Server, client: openai.OpenAI
) -> None:
    before = {name: server.metric(name) for name in (ENCODES, HITS, JOINS)}
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda index: ask(client, 950, f"Question {index}?"), range(12)))
    again = ask(client, 950)
    assert encode_stage(again)["cache"] == "shared"
    grown = {name: server.metric(name) - value for name, value in before.items()}
    assert grown[ENCODES] == 1
    assert grown[HITS] + grown[JOINS] == 12
    assert grown[HITS] >= 1


def test_a_cached_picture_is_answered_as_a_new_one(server: Server, client: openai.OpenAI) -> None:
    first, second = ask(client, 951), ask(client, 951)
    assert "cache" not in encode_stage(first)
    assert "cache" in encode_stage(second)
    assert first.choices[0].message.content == second.choices[0].message.content


def test_what_is_cleared_is_encoded_again(server: Server, client: openai.OpenAI) -> None:
    ask(client, 952)
    assert "from shared" in saccade_cache("stats", server)
    before = server.metric(ENCODES)
    removed = int(saccade_cache("clear", server).split()[1])
    assert removed >= 2  # of the gateway and of the instance
    assert "cache" not in encode_stage(ask(client, 952))
    assert server.metric(ENCODES) == before + 1


def test_two_pictures_under_one_name_of_the_client_never_mix(
    server: Server, client: openai.OpenAI
) -> None:
    before = server.metric(ENCODES)
    named = [ask(client, seed, uuid="mine") for seed in (953, 954)]
    assert server.metric(ENCODES) == before + 2
    # The second shares no KV block that holds visual tokens with the first.
    assert named[1].usage.prompt_tokens_details.cached_tokens < 144 // 2
    plain = [ask(client, seed) for seed in (953, 954)]
    assert [one.choices[0].message.content for one in named] == [
        one.choices[0].message.content for one in plain
    ]


def test_the_same_pixels_in_another_file_are_not_encoded_again(
    server: Server, client: openai.OpenAI
) -> None:
    """Files so large that their data URLs are taken out of the body before it is parsed."""
    noise = Image.effect_noise((256, 256), 80).convert("RGB")
    before = server.metric(ENCODES)
    answers = []
    for compress_level in (1, 9):
        data = BytesIO()
        noise.save(data, "PNG", compress_level=compress_level)
        assert len(data.getvalue()) > MIN_LIFTED_BYTES
        url = "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
        answers.append(ask_about(client, url))
    assert encode_stage(answers[1])["cache"] == "memory"
    assert server.metric(ENCODES) == before + 1
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content
