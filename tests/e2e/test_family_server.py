"""Pictures of several sizes, and clips, through the whole system, for each family; and what clients
send to an M-RoPE model."""

import base64
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
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
from tests.tiny_checkpoint import TinyFamily
from tests.tiny_families import FAMILIES, QWEN2_5_VL
from tests.unit.media.clips import clip_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CASES_OF_QWEN = CASES[QWEN2_5_VL.name]
OTHERS = tuple(family for family in FAMILIES if family is not QWEN2_5_VL)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("served")
    return {family.name: family.build(folder / family.name) for family in FAMILIES}


@pytest.fixture(scope="module")
def checkpoint(checkpoints: dict[str, Path]) -> Path:
    return checkpoints[QWEN2_5_VL.name]


@pytest.fixture(scope="module")
def stock(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What plain vLLM makes of the pictures and frames themselves, by family."""
    out = tmp_path_factory.mktemp("stock") / "answers.json"
    return answers("stock", list(checkpoints.values()), CASES, out)


@contextmanager
def serving(checkpoint: Path, log: Path, *overrides: str) -> Iterator[Server]:
    """As `saccade serve --model FOLDER` starts it: encode, prefill and decode apart."""
    server = launch(None, log, "model.dtype=float32", *overrides, model=checkpoint)
    try:
        yield until_ready(server)
        server.stop(signal.SIGINT)
    finally:
        server.kill()


@pytest.fixture(scope="module")
def family_server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(checkpoint, log, "media.accept_image_embeds=true") as server:
        yield server


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
        "messages": [{"role": "user", "content": parts}],
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    return httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=120)


def check_answers(server: Server, cases: list[Case], stock: list[dict[str, Any]]) -> None:
    for case, expected in zip(cases, stock, strict=True):
        response = ask(server, asked(case))
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["prompt_token_ids"] == expected["prompt_token_ids"]
        assert answer["choices"][0]["token_ids"] == expected["token_ids"]


def test_greedy_tokens_equal_those_of_plain_vllm(family_server: Server, stock: Any) -> None:
    check_answers(family_server, CASES_OF_QWEN, stock[QWEN2_5_VL.name])


@pytest.mark.parametrize("family", OTHERS, ids=lambda one: str(one.name))
def test_so_do_those_of_every_other_family(
    family: TinyFamily, checkpoints: dict[str, Path], stock: Any, tmp_path: Path
) -> None:
    with serving(checkpoints[family.name], tmp_path / "log") as server:
        check_answers(server, CASES[family.name], stock[family.name])


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
