"""Answers into accuracies."""

import pytest
from scipy.stats import norm

from saccade.training.data import Question
from saccade.training.evaluation.items import KINDS, Item, items
from saccade.training.evaluation.scores import Accuracy, judge, table


def _item(kind: str, answer: str, index: int, *, held_out: bool = False) -> Item:
    return Item(Question(kind, "What colour is the circle?", answer, held_out), 0, index)


def test_an_answer_counts_to_the_letter() -> None:
    asked = [_item("colour", "red", i) for i in range(4)]
    verdicts = judge(asked, ["red", " red\n", "Red", "red circle"], None)
    assert [v.right for v in verdicts] == [True, True, False, False]


def test_lines_are_by_kind_then_by_what_sets_questions_apart() -> None:
    asked = [
        _item("colour", "red", 0),
        _item("colour", "red", 1, held_out=True),
        _item("count", "3", 0),
        _item("motion", "up", 1),
    ]
    lines = table(judge(asked, ["red", "blue", "3", "up"], ["no", "red", "no", "no"]))
    found = {line.name: (line.accuracy.right, line.accuracy.asked) for line in lines}
    assert found == {
        "colour": (1, 2),
        "count": (1, 1),
        "motion": (1, 1),
        "all stills": (2, 3),
        "… seen pairs": (2, 2),
        "… held-out pairs": (0, 1),
        "… picture first": (2, 2),
        "… text first": (0, 1),
        "all clips": (1, 1),
    }
    blind = {line.name: line.blind.right for line in lines if line.blind is not None}
    assert blind["colour"] == 1
    assert blind["all stills"] == 1


def test_without_blind_answers_there_is_no_blind_accuracy() -> None:
    lines = table(judge([_item("colour", "red", 0)], ["red"], None))
    assert all(line.blind is None for line in lines)


@pytest.mark.parametrize(("right", "asked"), [(0, 10), (3, 10), (95, 100), (100, 100)])
def test_intervals_are_wilsons(right: int, asked: int) -> None:
    z = float(norm.ppf(0.975))
    share = right / asked
    middle = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    half = (
        z / (1 + z * z / asked) * (share * (1 - share) / asked + z * z / (4 * asked * asked)) ** 0.5
    )
    low, high = Accuracy(right, asked).interval
    assert low == pytest.approx(middle - half)
    assert high == pytest.approx(middle + half)


def test_items_ask_as_often_about_each_kind_and_never_change() -> None:
    asked = list(items(KINDS, 2, seed=4))
    assert [i.question.kind for i in asked] == [kind for kind in KINDS for _ in range(2)]
    assert asked == list(items(KINDS, 2, seed=4))
    assert asked != list(items(KINDS, 2, seed=5))
    assert {i.text_first for i in asked} == {True, False}


def test_a_blind_item_shows_grey_pictures_of_the_same_sizes() -> None:
    item = next(items(("order",), 1, seed=0))
    seen, blind = item.pictures(), item.blind().pictures()
    assert [p.size for p in seen] == [p.size for p in blind]
    assert all(len(p.getcolors() or []) == 1 for p in blind)
    assert item.blind().question == item.question
