"""Hundreds of malformed parts: each is refused, and every engine stays up."""

import base64
import math
import random
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx2
import pytest
import safetensors.torch
import torch

from saccade.encoders.registry import ENCODERS
from tests.e2e.server import ROOT, Server
from tests.integration.pictures import data_url, drawn

pytestmark = pytest.mark.slow

NUM_PARTS = 600
QUESTION = {"type": "text", "text": "What colour is it?"}


def _garbage(source: random.Random) -> str:
    return base64.b64encode(source.randbytes(source.randint(0, 400))).decode()


def _broken_picture(source: random.Random) -> dict[str, Any]:
    png = BytesIO()
    drawn(1, (40, 30)).save(png, source.choice(["PNG", "JPEG", "WEBP", "GIF"]))
    data = bytearray(png.getvalue())[: source.randint(1, 60)]
    url = "data:image/png;base64," + base64.b64encode(bytes(data)).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def _embeddings(source: random.Random) -> dict[str, Any]:
    kind = source.choice(["image_embeds", "video_embeds", "audio_embeds", "prompt_embeds"])
    value: Any = source.choice(
        [
            _garbage(source),
            {kind: _garbage(source), "image_grid_thw": _garbage(source)},
            {kind: [1, 2, 3], "image_grid_thw": [[1, 2, 3]]},
            [],
            7,
        ]
    )
    return {"type": kind, kind: value}


def _other_media(source: random.Random) -> dict[str, Any]:
    kind = source.choice(["video_url", "audio_url", "input_audio", "file", "video", "image_pil"])
    return {"type": kind, kind: source.choice([{"url": data_url(drawn(1))}, "x", [], None, 3])}


def _strange_url(source: random.Random) -> dict[str, Any]:
    url: Any = source.choice(
        ["", " ", "file:///etc/passwd", "http://", "data:,", "data:image/png;base64,", 3, [], {},
         "http://169.254.169.254/latest", "\ud7ff", "data:image/png;base64," + _garbage(source)]
    )  # fmt: skip
    return {
        "type": "image_url",
        "image_url": source.choice([url, {"url": url}, {"url": {"url": url}}]),
    }


def _wrong_tensor(source: random.Random) -> torch.Tensor:
    """Each is one step away from what the model takes."""
    row_size = ENCODERS.family(ROOT / ".cache/saccade-tiny").row_size
    shape, dtype, number = [source.randint(1, 80), row_size], torch.float32, 1.0
    wrong = source.choice(["rows", "width", "dimensions", "format", "number"])
    if wrong == "rows":
        shape[0] = source.choice([0, 2049])
    elif wrong == "width":
        shape[1] = source.choice([0, 1, row_size - 1, row_size + 1, 2 * row_size])
    elif wrong == "dimensions":
        shape = source.choice([[], [row_size], [2, 8, row_size], [1, 1, 8, row_size]])
    elif wrong == "format":
        dtype = source.choice([torch.float64, torch.int64, torch.uint8, torch.bool])
    else:
        number = source.choice([math.nan, math.inf, -math.inf, 3e38, -1e20, 2e4])
    tensor = torch.ones(shape, dtype=dtype)
    if wrong == "number":
        tensor[-1, source.randrange(row_size)] = number
    return tensor


def _wrong_embeddings(source: random.Random) -> dict[str, Any]:
    tensors = {"image_embeds": _wrong_tensor(source)}
    if source.random() < 0.2:
        tensors["image_grid_thw"] = torch.tensor([1, 2, 2])
    data = safetensors.torch.save(tensors)
    if source.random() < 0.3:
        buffer = BytesIO()
        torch.save(tensors["image_embeds"], buffer)
        data = buffer.getvalue()
    if source.random() < 0.2:
        data = data[: source.randrange(len(data))]
    return {"type": "image_embeds", "image_embeds": base64.b64encode(data).decode()}


def malformed(seed: int) -> dict[str, Any]:
    source = random.Random(seed)
    make = source.choice(
        [_broken_picture, _embeddings, _wrong_embeddings, _wrong_embeddings, _other_media,
         _strange_url]
    )  # fmt: skip
    return make(source)


def _ask(url: str, part: dict[str, Any]) -> httpx2.Response:
    body = {
        "model": "saccade-tiny",
        "messages": [{"role": "user", "content": [QUESTION, part]}],
        "temperature": 0,
        "max_tokens": 4,
        "return_token_ids": True,
    }
    return httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=120)


def test_malformed_parts_are_refused_and_the_engines_stay_up(server: Server) -> None:
    fine = {"type": "image_url", "image_url": {"url": data_url(drawn(1))}}
    before = _ask(server.url, fine).json()["choices"][0]["token_ids"]
    engines = {process.pid for process in server.engines()}

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda seed: _ask(server.url, malformed(seed)), range(NUM_PARTS)))

    for seed, response in enumerate(responses):
        assert 400 <= response.status_code < 500, (malformed(seed), response.text)
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert {process.pid for process in server.engines()} == engines
    assert _ask(server.url, fine).json()["choices"][0]["token_ids"] == before
