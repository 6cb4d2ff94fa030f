from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.serving.api.sanitise import num_answers, read_extension, stripped
from saccade.serving.errors import InvalidRequestError

# What lets a client steer the engine past us.
FORBIDDEN = [
    "cache_salt",
    "ec_transfer_params",
    "kv_transfer_params",
    "mm_processor_kwargs",
    "media_io_kwargs",
    "priority",
    "prompt_embeds",
    "request_id",
    "saccade",
    "use_beam_search",
    "uuid",
    "vllm_xargs",
]


def refused(body: dict[str, Any], max_choices: int = 8) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        num_answers(body, max_choices)
    return caught.value


@pytest.mark.parametrize("field", FORBIDDEN)
def test_fields_that_steer_the_engine_are_taken_out(field: str) -> None:
    assert stripped({"model": "m", field: {"remote_host": "10.0.0.1"}}) == {"model": "m"}


def test_what_openai_and_vllm_offer_passes() -> None:
    body = {
        "model": "m",
        "messages": [],
        "n": 2,
        "seed": 1,
        "tools": [],
        "response_format": {"type": "json_schema"},
        "stream_options": {"include_usage": True},
        "user": "u",
        "top_k": 3,
        "min_tokens": 1,
    }
    assert stripped(body) == body


def test_the_clients_body_is_not_changed() -> None:
    body = {"cache_salt": "x"}
    stripped(body)
    assert body == {"cache_salt": "x"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, 1),
        ({"n": None}, 1),
        ({"n": 3}, 3),
        ({"n": 3, "best_of": 3}, 3),
        ({"best_of": 1}, 1),
        ({"prompt": "text"}, 1),
        ({"prompt": ["a", "b"]}, 2),
        ({"prompt": ["a", "b"], "n": 3}, 6),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": []}, 1),
    ],
)
def test_answers_are_counted_by_choice_and_prompt(body: dict[str, Any], expected: int) -> None:
    assert num_answers(body, 8) == expected


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True, [1], {}])
def test_n_is_a_positive_whole_number(value: Any) -> None:
    assert refused({"n": value}).param == "n"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 9}, "n"),
        ({"prompt": ["a"] * 9}, "prompt"),
        ({"prompt": [[1]] * 5, "n": 2}, "prompt"),
        ({"prompt": ["a", "b"], "n": 9}, "n"),
    ],
)
def test_too_many_answers_are_refused_by_name(body: dict[str, Any], param: str) -> None:
    error = refused(body)
    assert (error.param, error.code) == (param, "too_many_choices")


@pytest.mark.parametrize("body", [{"best_of": 4}, {"n": 2, "best_of": 3}, {"best_of": "all"}])
def test_best_of_is_not_served(body: dict[str, Any]) -> None:
    assert refused(body).param == "best_of"


@given(
    st.integers(1, 20),
    st.one_of(
        st.none(),
        st.text(max_size=2),
        st.lists(st.text(max_size=1), max_size=6),
        st.lists(st.integers(0, 9), max_size=6),
        st.lists(st.lists(st.integers(0, 9), max_size=2), max_size=6),
    ),
    st.integers(1, 8),
)
def test_no_request_gets_more_answers_than_allowed(n: int, prompt: Any, max_choices: int) -> None:
    try:
        total = num_answers({"n": n, "prompt": prompt}, max_choices)
    except InvalidRequestError:
        return
    assert n <= total <= max_choices


def test_without_the_extension_nothing_is_explained() -> None:
    assert not read_extension({}).explain
    assert not read_extension({"saccade": None}).explain
    assert not read_extension({"saccade": {}}).explain


def test_the_extension_asks_for_an_explanation() -> None:
    assert read_extension({"saccade": {"explain": True}}).explain


@pytest.mark.parametrize(
    ("extension", "param"),
    [
        ({"explian": True}, "saccade.explian"),
        ({"explain": 1}, "saccade.explain"),
        ({"explain": "yes"}, "saccade.explain"),
        ({"explain": None}, "saccade.explain"),
        ([], "saccade"),
        ("explain", "saccade"),
        (True, "saccade"),
    ],
)
def test_what_the_extension_does_not_know_is_refused_by_name(extension: Any, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_extension({"saccade": extension})
    assert caught.value.param == param
    assert param in caught.value.message
