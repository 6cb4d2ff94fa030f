"""The checkpoint in the hands of those that it is made for: stock transformers and stock vLLM."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Image
from safetensors.torch import load_file
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPTextModelWithProjection,
    GenerationConfig,
    LlavaForConditionalGeneration,
)

from saccade.encoders.registry import ENCODERS
from saccade.training.architecture import SACCADE_TINY
from tests.integration.pictures import data_url, drawn
from tests.integration.stock_vllm import ask_stock_vllm

pytestmark = pytest.mark.slow

MAX_TOKENS = 64
Chat = list[dict[str, Any]]

QUESTION = {"type": "text", "text": "What colour is the circle?"}


def chats() -> dict[str, tuple[Chat, list[Image]]]:
    """What is asked, with the pictures in it: as transformers takes it."""
    one, two = drawn(1), drawn(2, (90, 400))
    picture = {"type": "image"}
    turns = [
        {"role": "user", "content": [picture, QUESTION]},
        {"role": "assistant", "content": [{"type": "text", "text": "red"}]},
        {"role": "user", "content": [{"type": "text", "text": "And its size?"}]},
    ]
    return {
        "text": ([{"role": "user", "content": [QUESTION]}], []),
        "picture": ([{"role": "user", "content": [picture, QUESTION]}], [one]),
        "picture after words": ([{"role": "user", "content": [QUESTION, picture]}], [two]),
        "two pictures": ([{"role": "user", "content": [picture, QUESTION, picture]}], [one, two]),
        "several turns": (turns, [two]),
    }


def for_openai(chat: Chat, images: Sequence[Image]) -> Chat:
    pictures = iter(images)
    return [
        {
            "role": message["role"],
            "content": [
                {"type": "image_url", "image_url": {"url": data_url(next(pictures))}}
                if part["type"] == "image"
                else part
                for part in message["content"]
            ],
        }
        for message in chat
    ]


class Transformers:
    def __init__(self, checkpoint: Path) -> None:
        loaded: Any = LlavaForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32, output_loading_info=True
        )
        self.model: Any
        self.model, self.loading = loaded
        self.processor: Any = AutoProcessor.from_pretrained(checkpoint)

    def answer(self, chat: Chat, images: list[Image]) -> tuple[list[int], list[int]]:
        """Token ids of the prompt, and of the greedy answer."""
        text = self.processor.apply_chat_template(chat, add_generation_prompt=True)
        inputs = self.processor(
            text=text, images=images or None, add_special_tokens=False, return_tensors="pt"
        )
        ids = self.model.generate(**inputs, do_sample=False, max_new_tokens=MAX_TOKENS)[0].tolist()
        num_prompt = inputs["input_ids"].shape[1]
        return ids[:num_prompt], ids[num_prompt:]


@pytest.fixture(scope="module")
def transformers(checkpoint: Path) -> Transformers:
    return Transformers(checkpoint)


@pytest.fixture(scope="module")
def stock(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("stock")
    conversations = [for_openai(*chat) for chat in chats().values()]
    told = ask_stock_vllm(checkpoint, conversations, max_tokens=MAX_TOKENS, out=out)
    with np.load(out / "tower.npz") as tower:
        return {
            **told,
            "answers": dict(zip(chats(), told["answers"], strict=True)),
            "pixels": torch.from_numpy(tower["pixels"]),
            "tokens": torch.from_numpy(tower["tokens"]),
        }


def test_transformers_finds_every_weight_and_no_other(transformers: Transformers) -> None:
    assert {name: found for name, found in transformers.loading.items() if found} == {}


def test_transformers_reads_the_ids_that_the_files_state(
    checkpoint: Path, transformers: Transformers
) -> None:
    tokens = SACCADE_TINY.tokens
    tokenizer = transformers.processor.tokenizer
    generation = GenerationConfig.from_pretrained(checkpoint)

    assert (tokenizer.pad_token_id, tokenizer.bos_token_id) == (tokens.pad, tokens.bos)
    assert tokenizer.eos_token_id == generation.eos_token_id == tokens.end
    assert transformers.processor.image_token_id == tokens.image
    assert transformers.model.config.image_token_id == tokens.image


def test_the_text_tower_loads_by_itself_and_sees_words(checkpoint: Path) -> None:
    loaded: Any = CLIPTextModelWithProjection.from_pretrained(
        checkpoint, subfolder="text_tower", output_loading_info=True
    )
    tower, loading = loaded
    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint, subfolder="text_tower")
    texts = ["a red circle", "a red square", "one big blue star to the left of a ring"]

    with torch.inference_mode():
        together = tower(**tokenizer(texts, padding=True, return_tensors="pt")).text_embeds
        alone = [tower(**tokenizer(text, return_tensors="pt")).text_embeds[0] for text in texts]

    assert {name: found for name, found in loading.items() if found} == {}
    assert together.shape == (3, SACCADE_TINY.text_tower.projection_dim)
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)
    torch.testing.assert_close(together.float(), torch.stack(alone).float(), atol=5e-2, rtol=5e-2)


def test_the_visual_projection_fits_both_towers(checkpoint: Path) -> None:
    tensors = load_file(checkpoint / "text_tower" / "visual_projection.safetensors")

    assert tensors["visual_projection.weight"].shape == (
        SACCADE_TINY.text_tower.projection_dim,
        SACCADE_TINY.vision.hidden_size,
    )
    assert tensors["logit_scale"].shape == ()


@pytest.mark.parametrize("name", chats())
def test_vllm_and_transformers_give_the_same_greedy_answer(
    name: str, transformers: Transformers, stock: dict[str, Any]
) -> None:
    prompt, answer = transformers.answer(*chats()[name])

    assert stock["answers"][name]["prompt_token_ids"] == prompt
    assert stock["answers"][name]["token_ids"] == answer


def test_answers_are_worth_comparing(stock: dict[str, Any]) -> None:
    answers = [answer["token_ids"] for answer in stock["answers"].values()]

    assert len({tuple(answer[:8]) for answer in answers}) == len(answers)
    assert min(len(answer) for answer in answers) >= 16
    assert min(len(set(answer)) / len(answer) for answer in answers) > 0.3


def test_vllm_keeps_the_place_of_a_picture(stock: dict[str, Any]) -> None:
    assert stock["content_format"] == "openai"


def test_our_pixels_are_vllms_bit_for_bit(checkpoint: Path, stock: dict[str, Any]) -> None:
    encoder = ENCODERS.load_encoder(checkpoint)
    images = [drawn(1), drawn(2, (90, 400))]

    prepared = [encoder.preprocess(image) for image in images]
    pixels = torch.cat([one.tensors["pixel_values"] for one in prepared])

    # vLLM keeps what it has encoded before: each picture is encoded once.
    assert torch.equal(pixels, stock["pixels"])
    ours = torch.stack([one.embeddings for one in encoder.encode(prepared)])
    torch.testing.assert_close(ours, stock["tokens"], atol=1e-4, rtol=1e-4)
