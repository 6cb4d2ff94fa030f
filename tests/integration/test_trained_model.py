"""saccade-tiny, the trained checkpoint of the repository: same answers everywhere, mostly right."""

import asyncio
from pathlib import Path

import pytest
from safetensors import safe_open
from transformers import AutoTokenizer

from saccade.encoders.pruning.pipeline import Pipeline
from saccade.encoders.pruning.registry import PruningRegistry
from saccade.training.architecture import SACCADE_TINY
from saccade.training.data import STILL_KINDS
from saccade.training.evaluation.answering import (
    MOST_TOKENS,
    DirectAnswerer,
    data_url,
    messages,
)
from saccade.training.evaluation.items import Item, items
from saccade.training.evaluation.pruned import PrunedModel
from saccade.training.weights import model_shapes
from tests.integration.stock_vllm import ask_stock_vllm

pytestmark = pytest.mark.slow

MODEL = Path(__file__).parents[2] / "models" / "saccade-tiny"
MEBIBYTE = 2**20
ASKED = list(items(STILL_KINDS, 26, seed=7))


@pytest.fixture(scope="module")
def answers() -> list[str]:
    """Of stock transformers, in float32."""
    return _answers(DirectAnswerer(MODEL, "float32"), ASKED)


def _answers(answerer: DirectAnswerer, asked: list[Item]) -> list[str]:
    async def collect() -> dict[int, str]:
        return {number: answer async for number, answer in answerer.answers(asked)}

    found = asyncio.run(collect())
    return [found[number] for number in range(len(asked))]


def test_stock_vllm_gives_the_same_greedy_answers(answers: list[str], tmp_path: Path) -> None:
    conversations = [
        messages(item, 1, [data_url(picture) for picture in item.pictures()]) for item in ASKED
    ]
    stock = ask_stock_vllm(MODEL, conversations, max_tokens=MOST_TOKENS, out=tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    theirs = [
        tokenizer.decode(answer["token_ids"], skip_special_tokens=True)
        for answer in stock["answers"]
    ]
    assert len(ASKED) > 200
    assert theirs == answers


def test_answers_are_right_more_often_than_guesses(answers: list[str]) -> None:
    """A guard against shipping weights that do not fit the code; the accuracy itself is measured
    by `saccade eval`."""
    right = sum(answer == item.question.answer for answer, item in zip(answers, ASKED, strict=True))
    assert right / len(ASKED) > 0.65


@pytest.mark.parametrize("keep_positions", [False, True])
def test_with_all_tokens_kept_the_evaluation_of_pruning_answers_the_same(
    answers: list[str], keep_positions: bool
) -> None:
    model = PrunedModel(MODEL, MODEL / "text_tower", keep_positions=keep_positions)
    some = range(0, len(ASKED), 5)
    seen = list(model.see([ASKED[number] for number in some]))
    for settings in ([], [{"method": "cdpruner", "keep_ratio": 1.0}]):
        pipeline = Pipeline.of(settings, PruningRegistry())
        found = [(answer, count) for _, answer, count in model.answers(seen, pipeline)]
        assert found == [(answers[number], 144) for number in some]


def test_the_checkpoint_is_small_and_in_bfloat16() -> None:
    weights = [MODEL / "model.safetensors", *MODEL.glob("text_tower/*.safetensors")]
    assert sum(path.stat().st_size for path in weights) <= 20 * MEBIBYTE
    with safe_open(MODEL / "model.safetensors", "pt") as tensors:
        assert set(tensors.keys()) == set(model_shapes(SACCADE_TINY))
        assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"BF16"}  # noqa: SIM118
