"""Pictures of several sizes, and clips, through the whole system with an M-RoPE model."""

import base64
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import safetensors.torch
import torch

from saccade.encoders.registry import ENCODERS
from tests.e2e.server import Server, launch, until_ready
from tests.integration.family_vllm import MAX_TOKENS, Case, answers, frames_of
from tests.integration.pictures import data_url, drawn
from tests.integration.test_family_answers import CASES
from tests.tiny_families import QWEN2_5_VL
from tests.unit.media.clips import clip_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CASES_OF_QWEN = CASES[QWEN2_5_VL.name]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return QWEN2_5_VL.build(tmp_path_factory.mktemp("served") / QWEN2_5_VL.name)


@pytest.fixture(scope="module")
def stock(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What plain vLLM makes of the pictures and frames themselves."""
    out = tmp_path_factory.mktemp("stock") / "answers.json"
    return answers("stock", [checkpoint], {QWEN2_5_VL.name: CASES_OF_QWEN}, out)[QWEN2_5_VL.name]


@pytest.fixture(scope="module")
def family_server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As `saccade serve --model FOLDER` starts it."""
    log = tmp_path_factory.mktemp("server") / "log"
    overrides = ("model.dtype=float32", "media.accept_image_embeds=true")
    server = launch(None, log, *overrides, model=checkpoint)
    try:
        yield until_ready(server)
        server.stop(signal.SIGINT)
    finally:
        server.kill()


def asked(case: Case) -> list[dict[str, Any]]:
    """The parts of a request; a clip goes as frames, which stay as they are."""
    parts = []
    for part in case:
        if part["type"] == "image":
            url = data_url(drawn(part["seed"], tuple(part["size"])))
            parts.append({"type": "image_url", "image_url": {"url": url}})
        elif part["type"] == "video":
            urls = [data_url(frame) for frame in frames_of(part)]
            parts.append({"type": "video", "video": urls, "fps": part["fps"]})
        else:
            parts.append(part)
    return parts


def ask(server: Server, parts: list[dict[str, Any]]) -> httpx2.Response:
    body = {
        "model": QWEN2_5_VL.name,
        "messages": [{"role": "user", "content": parts}],
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    return httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=120)


@pytest.mark.parametrize("index", range(len(CASES_OF_QWEN)))
def test_greedy_tokens_equal_those_of_plain_vllm(
    index: int, family_server: Server, stock: list[dict[str, Any]]
) -> None:
    response = ask(family_server, asked(CASES_OF_QWEN[index])).json()
    assert response["prompt_token_ids"] == stock[index]["prompt_token_ids"]
    assert response["choices"][0]["token_ids"] == stock[index]["token_ids"]


def test_a_video_file_is_answered_and_counted(family_server: Server) -> None:
    url = "data:video/mp4;base64," + base64.b64encode(clip_file(size=(112, 84))).decode()
    part = {"type": "video_url", "video_url": {"url": url, "fps": 2, "max_frames": 3}}
    response = ask(family_server, [part, {"type": "text", "text": "what is this clip ?"}])
    assert response.status_code == 200, response.text
    # Two steps in time for three frames, each of 3 x 4 cells of 28 pixels.
    assert response.json()["usage"]["visual_tokens"] == 2 * 3 * 4


def test_a_picture_of_impossible_proportions_is_refused(family_server: Server) -> None:
    url = data_url(drawn(1, (3000, 3)))
    response = ask(family_server, [{"type": "image_url", "image_url": {"url": url}}])
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "unsupported_image_size"


def given(embeddings: torch.Tensor, grid: list[int]) -> dict[str, Any]:
    """A part as a client sends it that has encoded a picture itself."""
    tensors = {"image_embeds": embeddings, "image_grid_thw": torch.tensor(grid)}
    data = base64.b64encode(safetensors.torch.save(tensors)).decode()
    return {"type": "image_embeds", "image_embeds": data}


def test_a_client_may_encode_a_picture_itself(family_server: Server, checkpoint: Path) -> None:
    encoder = ENCODERS.load_encoder(checkpoint)
    image, question = drawn(3, (150, 100)), {"type": "text", "text": "what is this ?"}
    [tokens] = encoder.encode([encoder.preprocess(image)])
    grid = encoder.family.picture(*image.size).grid
    assert grid is not None
    part = given(tokens.embeddings, [1, 2 * grid[1], 2 * grid[2]])
    ours = ask(family_server, [part, question]).json()
    picture = {"type": "image_url", "image_url": {"url": data_url(image)}}
    theirs = ask(family_server, [picture, question]).json()
    assert ours["prompt_token_ids"] == theirs["prompt_token_ids"]
    assert ours["choices"][0]["token_ids"] == theirs["choices"][0]["token_ids"]


def test_no_grid_that_does_not_fit_reaches_the_engine(
    family_server: Server, checkpoint: Path
) -> None:
    """Stock vLLM's engine dies of it."""
    row_size = ENCODERS.family(checkpoint).row_size
    engines = {process.pid for process in family_server.engines()}
    source = random.Random(5)
    for _ in range(100):
        grid = [source.choice([0, 1, 1, 1, 2, -1]), *(source.randint(-1, 9) for _ in range(2))]
        count = source.randint(0, 20)
        fits = grid[0] == 1 and min(grid) > 0 and not grid[1] % 2 and not grid[2] % 2
        if fits and grid[1] * grid[2] == 4 * count:
            continue
        response = ask(family_server, [given(torch.zeros(count, row_size), grid)])
        assert response.status_code == 400, (grid, count, response.text)
        assert response.json()["error"]["code"] == "invalid_image_embeds"
    assert {process.pid for process in family_server.engines()} == engines
    assert ask(family_server, asked(CASES_OF_QWEN[0])).status_code == 200


def test_the_plan_was_printed_before_the_start(family_server: Server) -> None:
    output = family_server.output()
    assert "Qwen2.5-VL, float32" in output
    assert "a picture of one megapixel: " in output
