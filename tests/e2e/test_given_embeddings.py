"""Visual tokens that a client has computed, through the whole system."""

import base64
import io
from typing import Any

import httpx2
import pytest
import safetensors.torch
import torch

from saccade.encoders.base import VisionEncoder
from saccade.encoders.registry import ENCODERS
from tests.e2e.server import ROOT, Server
from tests.integration.pictures import data_url, drawn

pytestmark = pytest.mark.slow

QUESTION = {"type": "text", "text": "What colour is it?"}


@pytest.fixture(scope="module")
def encoder(server: Server) -> VisionEncoder:
    """Of the checkpoint that the server has written."""
    return ENCODERS.load_encoder(ROOT / ".cache/saccade-tiny")


def encoded(encoder: VisionEncoder, seed: int) -> torch.Tensor:
    [tokens] = encoder.encode([encoder.preprocess(drawn(seed))])
    return tokens.embeddings


def as_safetensors(tensor: torch.Tensor) -> bytes:
    return safetensors.torch.save({"image_embeds": tensor.contiguous()})


def as_saved(tensor: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    return buffer.getvalue()


def part(data: bytes) -> dict[str, Any]:
    return {"type": "image_embeds", "image_embeds": base64.b64encode(data).decode()}


def ask(server: Server, *parts: dict[str, Any]) -> dict[str, Any]:
    body = {
        "model": "saccade-tiny",
        "messages": [{"role": "user", "content": [*parts, QUESTION]}],
        "temperature": 0,
        "max_tokens": 8,
        "return_token_ids": True,
        "saccade": {"explain": True},
    }
    response = httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=120)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def tokens(answer: dict[str, Any]) -> list[int]:
    ids: list[int] = answer["choices"][0]["token_ids"]
    return ids


@pytest.mark.parametrize("form", [as_safetensors, as_saved])
def test_they_are_answered_as_the_picture_is(
    form: Any, server: Server, encoder: VisionEncoder
) -> None:
    picture = {"type": "image_url", "image_url": {"url": data_url(drawn(11))}}
    answer = ask(server, part(form(encoded(encoder, 11))))
    expected = ask(server, picture)
    assert tokens(answer) == tokens(expected)
    assert answer["usage"]["visual_tokens"] == expected["usage"]["visual_tokens"]
    stages = [stage["stage"] for stage in answer["saccade"]["stages"]]
    assert stages == ["prefill", "decode"]


def test_any_number_of_tokens_is_taken_and_a_picture_beside_them(
    server: Server, encoder: VisionEncoder
) -> None:
    rows = encoded(encoder, 12)
    picture = {"type": "image_url", "image_url": {"url": data_url(drawn(13))}}
    answer = ask(server, part(as_safetensors(rows[:5])), picture, part(as_saved(rows[:1])))
    assert answer["usage"]["visual_tokens"] == 5 + len(rows) + 1


def test_the_largest_numbers_that_are_taken_spoil_nobody_elses_answer(
    server: Server, encoder: VisionEncoder
) -> None:
    fine = part(as_safetensors(encoded(encoder, 14)))
    before = tokens(ask(server, fine))
    row_size = encoder.family.row_size
    for sign in (1.0, -1.0):
        ask(server, part(as_safetensors(torch.full((600, row_size), sign * 1e4))))
    other = part(as_saved(encoded(encoder, 14)))  # other bytes: nothing is cached for them
    assert tokens(ask(server, other)) == before
