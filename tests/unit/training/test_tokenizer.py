import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.training.architecture import SACCADE_TINY
from saccade.training.tokenizer import (
    BOS,
    CONTROL_TOKENS,
    END,
    FIRST_WORD_ID,
    IMAGE,
    MARKUP_TOKENS,
    PAD,
    build_tokenizer,
    learn_merges,
    text_tower_tokenizer,
)

TOKENIZER = build_tokenizer(SACCADE_TINY)
ANY_TEXT = st.text() | st.lists(
    st.text(max_size=5) | st.sampled_from([*CONTROL_TOKENS, *MARKUP_TOKENS, " ", "\n\n", "colour"])
).map("".join)


@given(ANY_TEXT)
def test_any_text_comes_back_as_it_was(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False).ids

    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_the_vocabulary_is_as_large_as_the_architecture_says() -> None:
    assert TOKENIZER.get_vocab_size() == SACCADE_TINY.vocab_size
    assert sorted(TOKENIZER.get_vocab().values()) == list(range(SACCADE_TINY.vocab_size))


def test_the_architecture_knows_the_ids_of_the_control_tokens() -> None:
    tokens = SACCADE_TINY.tokens

    assert [TOKENIZER.token_to_id(token) for token in (PAD, BOS, IMAGE, END)] == [
        tokens.pad,
        tokens.bos,
        tokens.image,
        tokens.end,
    ]


def test_bytes_come_before_what_the_merges_make() -> None:
    spellings = {index: token for token, index in TOKENIZER.get_vocab().items()}

    assert len(spellings[FIRST_WORD_ID - 1]) == 1
    assert len(spellings[FIRST_WORD_ID]) == 2


def test_ids_stay_what_trained_weights_expect() -> None:
    ids = TOKENIZER.encode("What colour is the circle?").ids

    assert ids == [1, 1274, 703, 652, 621, 689, 42]


@pytest.mark.parametrize(
    "text", ["What", " colour", "red", " red", "seven", "K", " K", "7", " 7", '{"', '": "']
)
def test_what_the_model_is_about_is_cheap(text: str) -> None:
    assert len(TOKENIZER.encode(text, add_special_tokens=False).ids) <= 2


def test_labels_are_spelled_letter_by_letter() -> None:
    assert TOKENIZER.encode("K7B", add_special_tokens=False).tokens == ["K", "7", "B"]
    assert TOKENIZER.encode("2025", add_special_tokens=False).tokens == ["2", "0", "2", "5"]


def test_tool_markup_is_shown_and_control_tokens_are_not() -> None:
    ids = TOKENIZER.encode(f"<tool_call>{{}}</tool_call>{END}").ids

    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "<tool_call>{}</tool_call>"


def test_the_text_tower_closes_a_text() -> None:
    ids = text_tower_tokenizer(TOKENIZER).encode("a red circle").ids

    assert (ids[0], ids[-1]) == (SACCADE_TINY.tokens.bos, SACCADE_TINY.tokens.end)
    assert ids[:-1] == TOKENIZER.encode("a red circle").ids


def test_merges_join_the_heaviest_pair_first_and_ties_have_an_order() -> None:
    merges, pieces = learn_merges({"abab": 3, "cd": 6, "ce": 1}, 256 + 3)

    assert merges == [("a", "b"), ("c", "d"), ("ab", "ab")]
    assert pieces[256:] == ["ab", "cd", "abab"]


def test_too_few_words_are_noticed() -> None:
    with pytest.raises(ValueError, match="257 pieces, 300 are needed"):
        learn_merges({"ab": 1}, 300)
