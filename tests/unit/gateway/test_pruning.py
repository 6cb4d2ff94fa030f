"""What requests may ask of pruning, and what it comes to for a picture."""

from typing import Any

import pytest

from saccade.encoders.base import Block, VisualLayout
from saccade.encoders.pruning.registry import PruningRegistry
from saccade.encoders.pruning.stage import PruningRequestError
from saccade.encoders.published import published
from saccade.encoders.registry import ENCODERS
from saccade.serving.config.pruning import PruningConfig
from saccade.serving.errors import InvalidRequestError
from saccade.serving.gateway.pruning import PruningPolicy

LLAVA = "llava-hf/llava-1.5-7b-hf"
LAYOUT = VisualLayout(576, blocks=(Block(24, 24),))
CDPRUNER = {"method": "cdpruner", "keep": 64}
UNIFORM = {"method": "uniform", "keep": 64}


def policy(load: tuple[int, int] = (0, 0), **config: Any) -> PruningPolicy:
    family = ENCODERS.family_of(published()[LLAVA].files, LLAVA)
    return PruningPolicy(PruningConfig(**config), family, PruningRegistry(), lambda: load)


def kept(one: PruningPolicy, request: Any, question: str | None = "What is it?") -> int:
    planned = one.planned(one.asked(request), LAYOUT, question)
    return LAYOUT.num_tokens if planned is None else planned.num_tokens


def test_without_a_word_nothing_is_pruned() -> None:
    assert kept(policy(), None) == 576


def test_the_operators_default_holds_for_requests_that_say_nothing() -> None:
    one = policy(default={"method": "uniform", "keep_ratio": 0.25})
    assert [kept(one, None), kept(one, CDPRUNER), kept(one, [])] == [144, 64, 576]


def test_methods_in_a_row() -> None:
    halved = [{"method": "llavolta", "keep_ratio": 0.5}, {"method": "uniform", "keep": 10}]
    assert kept(policy(), halved) == 10


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"method": "best", "keep": 1}, "there is no pruning method 'best'"),
        ({"keep": 1}, "method: name one of"),
        ({"method": "uniform"}, "give one of keep"),
        ({"method": "uniform", "keep": 0}, "keep: "),
        ({"method": "uniform", "keep": 2.5}, "keep: "),
        ({"method": "uniform", "keep": 3, "colour": 1}, "colour: "),
        ([UNIFORM] * 5, "at most 4"),
    ],
)
def test_what_is_wrong_is_named(request_: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"saccade\.pruning") as found:
        policy().asked(request_)
    assert message in found.value.message
    assert str(found.value.param).startswith("saccade.pruning")


def test_the_operators_bounds_hold() -> None:
    one = policy(methods=["uniform"], min_keep_ratio=0.2)
    with pytest.raises(InvalidRequestError, match="cdpruner is not allowed here; allowed: uniform"):
        one.asked(CDPRUNER)
    with pytest.raises(InvalidRequestError, match=r"64 of 576 .* at least 20% must be"):
        kept(one, UNIFORM)
    assert kept(one, {"method": "uniform", "keep": 116}) == 116


def test_a_server_that_does_not_prune_says_so() -> None:
    with pytest.raises(InvalidRequestError, match="does not prune"):
        policy(enabled=False).asked(UNIFORM)
    assert kept(policy(enabled=False), []) == 576


@pytest.mark.parametrize("question", [None, "", "  "])
def test_a_method_that_looks_at_the_question_needs_one(question: str | None) -> None:
    assert kept(policy(), UNIFORM, question) == 64
    with pytest.raises(InvalidRequestError, match="no text with the picture"):
        kept(policy(), CDPRUNER, question)


def test_the_key_tells_questions_apart_only_where_they_are_looked_at() -> None:
    one = policy()

    def key(request: Any, question: str) -> str:
        planned = one.planned(one.asked(request), LAYOUT, question)
        assert planned is not None
        return planned.key

    assert key(CDPRUNER, "a") != key(CDPRUNER, "b")
    assert key(UNIFORM, "a") == key(UNIFORM, "b") != key({**UNIFORM, "keep": 65}, "a")


def test_an_operators_default_that_cannot_be_done_is_refused_at_once() -> None:
    with pytest.raises(PruningRequestError, match="no pruning method 'best'"):
        policy(default={"method": "best", "keep": 1})


def test_under_overload_fewer_are_kept_if_the_operator_says_so() -> None:
    exact, adaptive = policy((64, 64)), policy((64, 64), quality="adaptive", min_keep_ratio=0.1)
    assert (kept(exact, UNIFORM), exact.asked(UNIFORM).quality) == (64, 1.0)
    # Half of what was asked for, though a request may not ask for so little.
    assert (kept(adaptive, UNIFORM), adaptive.asked(UNIFORM).quality) == (32, 0.5)


def test_the_floor_holds_however_many_wait() -> None:
    assert kept(policy((10**6, 1), quality="adaptive", min_adaptive_ratio=0.75), UNIFORM) == 48
