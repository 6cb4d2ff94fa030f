"""Prompts of a wanted length."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from saccade.loadtest.errors import InputFileError, PlanError
from saccade.loadtest.workloads.text import ApproximateText, ExactText, text_source
from saccade.training.architecture import SACCADE_TINY
from saccade.training.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def bytes_tokenizer() -> Tokenizer:
    """The built-in model's: most words are one token, the others fall apart."""
    return build_tokenizer(SACCADE_TINY)


@settings(max_examples=40)
@given(num_tokens=st.integers(0, 300), seed=st.integers(0, 100))
def test_with_a_tokenizer_lengths_are_exact(
    bytes_tokenizer: Tokenizer, num_tokens: int, seed: int
) -> None:
    text = ExactText(bytes_tokenizer).make(num_tokens, np.random.default_rng(seed))
    assert len(bytes_tokenizer.encode(text, add_special_tokens=False).ids) == num_tokens


def test_texts_differ_with_the_random_state_and_only_with_it(bytes_tokenizer: Tokenizer) -> None:
    for source in (ExactText(bytes_tokenizer), ApproximateText()):
        texts = [source.make(40, np.random.default_rng(seed)) for seed in (1, 1, 2)]
        assert texts[0] == texts[1] != texts[2]


def test_without_a_tokenizer_there_is_a_word_for_each_token() -> None:
    text = ApproximateText().make(50, np.random.default_rng(0))
    assert len(text.split()) == 50
    assert ApproximateText().count(text) is None


def test_a_tokenizer_that_cannot_reach_a_length_is_reported() -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split("[\\s\\S]*", "merged_with_next")
    with pytest.raises(PlanError, match="leave --tokenizer out"):
        ExactText(words).make(7, np.random.default_rng(0))


def test_a_tokenizer_is_found_in_a_file_or_a_folder(
    tmp_path: Path, bytes_tokenizer: Tokenizer
) -> None:
    path = tmp_path / "tokenizer.json"
    bytes_tokenizer.save(str(path))
    for place in (path, tmp_path):
        assert text_source(place).count("a red circle") == 3
    with pytest.raises(InputFileError, match=r"no-such.* no such file"):
        text_source(tmp_path / "no-such")
    path.write_text("{}")
    with pytest.raises(InputFileError, match="not a tokenizer"):
        text_source(path)
