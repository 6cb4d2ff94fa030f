"""For each family: the same answers from what we hand over as plain vLLM gives from pixels."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.family_vllm import Case, answers, clip, picture, words
from tests.tiny_families import FAMILIES, TEXT_ONLY, WITH_CLIPS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Of a log-probability: float32, and the tower runs in other kernels.
TOLERANCE = 2e-3

TEXT: list[Case] = [[words("what is that ?")]]
PICTURES: list[Case] = [
    [picture(1, 320, 240), words("what is this ?")],
    [picture(2, 60, 300), words("and"), picture(3, 400, 120), words("colour ?")],
    [words("what is"), picture(4, 56, 56), picture(4, 56, 56), words("?")],
]
CLIPS: list[Case] = [
    [clip(5, 120, 90, 4, 2.0), words("what is this clip ?")],
    [picture(6, 100, 100), words("and"), clip(7, 64, 120, 5, 3.0), words("?")],
]


def cases_of(name: str) -> list[Case]:
    if name == TEXT_ONLY.name:
        return TEXT
    with_video = name in {family.name for family in WITH_CLIPS}
    return [*TEXT, *PICTURES, *(CLIPS if with_video else [])]


CASES = {family.name: cases_of(family.name) for family in FAMILIES}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("families")
    return [family.build(folder / family.name) for family in FAMILIES]


@pytest.fixture(scope="module")
def stock(checkpoints: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return answers("stock", checkpoints, CASES, tmp_path_factory.mktemp("stock") / "answers.json")


@pytest.fixture(scope="module")
def ours(checkpoints: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return answers("ours", checkpoints, CASES, tmp_path_factory.mktemp("ours") / "answers.json")


@pytest.mark.parametrize("name", CASES)
def test_the_prompt_is_that_of_plain_vllm(name: str, stock: Any, ours: Any) -> None:
    for theirs, mine in zip(stock[name], ours[name], strict=True):
        assert mine["prompt_token_ids"] == theirs["prompt_token_ids"]


@pytest.mark.parametrize("name", CASES)
def test_greedy_tokens_are_those_of_plain_vllm(name: str, stock: Any, ours: Any) -> None:
    for theirs, mine in zip(stock[name], ours[name], strict=True):
        assert mine["token_ids"] == theirs["token_ids"]
        assert len(set(mine["token_ids"])) > 2, "an answer of one word shows nothing"


@pytest.mark.parametrize("name", CASES)
def test_log_probabilities_are_those_of_plain_vllm(name: str, stock: Any, ours: Any) -> None:
    for theirs, mine in zip(stock[name], ours[name], strict=True):
        for one, other in zip(theirs["logprobs"], mine["logprobs"], strict=True):
            for token in one.keys() & other.keys():
                assert other[token] == pytest.approx(one[token], abs=TOLERANCE)
