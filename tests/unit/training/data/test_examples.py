"""What an example promises: always the same, true to its scene, and honest about the split."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.training.data import (
    CLIP_KINDS,
    MORE_KINDS,
    STILL_KINDS,
    Example,
    Split,
    clip,
    still,
    stream,
    text_only,
)
from saccade.training.data.palette import COLOURS
from saccade.training.data.scenes import Object, Scene, is_held_out
from saccade.training.data.shapes import PLURALS, SHAPES

indexes = st.integers(0, 10**9)
splits = st.sampled_from(list(Split))


@given(split=splits, index=indexes)
@settings(max_examples=30)
def test_an_example_is_the_same_whenever_it_is_made(split: Split, index: int) -> None:
    one = still(split, 3, index, num_questions=4)
    same = still(split, 3, index, num_questions=4)
    assert one.questions == same.questions
    assert one.caption == same.caption
    assert one.pictures[0].tobytes() == same.pictures[0].tobytes()


def test_splits_seeds_and_indexes_differ() -> None:
    pictures = {
        still(split, seed, index).pictures[0].tobytes()
        for split in Split
        for seed in (0, 1)
        for index in (0, 1)
    }
    assert len(pictures) == 8


@given(index=indexes)
@settings(max_examples=60)
def test_training_neither_shows_nor_names_a_held_out_pair(index: int) -> None:
    example = still(Split.TRAIN, 0, index, (*STILL_KINDS, *MORE_KINDS), num_questions=8)
    assert not any(o.held_out for o in example.scenes[0].objects)
    for question in example.questions:
        assert not _held_out_pairs_named(question.text)
        assert not question.held_out


def test_a_good_share_of_held_out_questions_is_about_held_out_pairs() -> None:
    asked = [still(Split.HELD_OUT, 0, i).questions[0].held_out for i in range(300)]
    assert 0.15 < sum(asked) / len(asked) < 0.6


def test_every_colour_and_every_shape_is_seen_in_training() -> None:
    pairs = [(c, s) for c in COLOURS for s in SHAPES if not is_held_out(c, s)]
    assert {c for c, _ in pairs} == set(COLOURS)
    assert {s for _, s in pairs} == set(SHAPES)
    assert 0.05 < 1 - len(pairs) / (len(COLOURS) * len(SHAPES)) < 0.2


@pytest.mark.parametrize("kind", STILL_KINDS)
def test_answers_are_one_lower_case_word_or_number(kind: str) -> None:
    for index in range(40):
        question = still(Split.HELD_OUT, 1, index, (kind,)).questions[0]
        assert question.kind == kind
        assert re.fullmatch(r"[a-z0-9]+", question.answer)


@pytest.mark.parametrize("kind", CLIP_KINDS)
def test_a_clip_has_eight_frames_of_one_size_and_a_word_for_an_answer(kind: str) -> None:
    for index in range(10):
        example = clip(Split.HELD_OUT, 1, index, (kind,), num_questions=3)
        assert len(example.pictures) == 8
        assert len({picture.size for picture in example.pictures}) == 1
        assert [q.kind for q in example.questions] == [kind] * 3
        for question in example.questions:
            assert re.fullmatch(r"[a-z]+", question.answer)


@given(index=indexes, kind=st.sampled_from(CLIP_KINDS), more=st.integers(2, 12))
@settings(max_examples=20)
def test_more_questions_about_a_clip_leave_the_first_ones(index: int, kind: str, more: int) -> None:
    one = clip(Split.TRAIN, 1, index, (kind,), num_frames=3)
    many = clip(Split.TRAIN, 1, index, (kind,), num_frames=3, num_questions=more)
    assert len(one.questions) == 1
    assert many.questions[0] == one.questions[0]
    assert many.scenes == one.scenes
    assert len({q.text for q in many.questions}) == len(many.questions) <= more


@given(index=indexes, most=st.integers(1, 8))
def test_no_picture_shows_more_objects_than_asked_for(index: int, most: int) -> None:
    example = still(Split.TRAIN, 0, index, ("colour", "shape"), most_objects=most)
    assert 1 <= len(example.scenes[0].objects) <= most


@pytest.mark.parametrize(("kind", "wider"), [("side", "half"), ("beside", "position")])
def test_a_step_towards_a_kind_asks_about_left_and_right_alone(kind: str, wider: str) -> None:
    for index in range(40):
        (question,) = still(Split.TRAIN, 0, index, (kind,)).questions
        assert question.kind == kind
        assert question.answer in ("left", "right")
    answers = {still(Split.TRAIN, 0, i, (wider,)).questions[0].answer for i in range(60)}
    assert answers > {"left", "right"}


def test_halves_are_those_of_the_picture() -> None:
    halves = {
        "left": ("x", True),
        "right": ("x", False),
        "top": ("y", True),
        "bottom": ("y", False),
    }
    for index in range(40):
        example = still(Split.TRAIN, 0, index, ("half",))
        (scene,), (question,) = example.scenes, example.questions
        axis, is_lower = halves[question.answer]
        middle = (scene.width if axis == "x" else scene.height) / 2
        there = [o for o in scene.objects if (getattr(o, axis) < middle) == is_lower]
        assert any(o.shape in question.text or "object" in question.text for o in there), question


@given(index=indexes)
@settings(max_examples=200)
def test_answers_follow_from_the_scene(index: int) -> None:
    """Answered again by other code, from the words of the question alone."""
    example = still(Split.HELD_OUT, 2, index, num_questions=6)
    for question in example.questions:
        expected = _answer(example.scenes[0], question.kind, question.text)
        assert expected in (None, question.answer), question


def test_the_other_code_does_answer() -> None:
    answered = [
        _answer(e.scenes[0], q.kind, q.text) is not None
        for e in (still(Split.TRAIN, 0, i, num_questions=6) for i in range(50))
        for q in e.questions
    ]
    assert sum(answered) / len(answered) > 0.9


def test_pictures_show_the_colour_that_is_answered() -> None:
    for index in range(40):
        example = still(Split.TRAIN, 5, index)
        scene, pixels = example.scenes[0], np.asarray(example.pictures[0], dtype=float)
        top = scene.objects[-1]
        if top.shape in ("ring", "cross") or top.label:
            continue
        seen = pixels[int(top.y), int(top.x)]
        assert np.abs(seen - np.array(top.shade)).max() < 60, (index, top)


def test_owners_mark_the_cells_of_an_object() -> None:
    for index in range(40):
        example = still(Split.TRAIN, 6, index)
        scene, owners = example.scenes[0], example.drawn[0].owners
        number = len(scene.objects) - 1
        top = scene.objects[number]
        if top.shape == "ring" or top.size == "small":
            continue
        row, column = int(48 * top.y / scene.height), int(48 * top.x / scene.width)
        assert owners[row, column] == number


def test_motion_goes_where_the_answer_says() -> None:
    for index in range(60):
        example = clip(Split.TRAIN, 0, index, ("motion",))
        first, last = example.scenes[0], example.scenes[-1]
        moved = [
            (b.x - a.x, b.y - a.y)
            for a, b in zip(first.objects, last.objects, strict=True)
            if (a.x, a.y) != (b.x, b.y)
        ]
        assert len(moved) == 1
        across, down = moved[0]
        expected = (
            ("right" if across > 0 else "left")
            if abs(across) > abs(down)
            else ("down" if down > 0 else "up")
        )
        assert example.questions[0].answer == expected


def test_what_appears_was_not_there_before() -> None:
    for index in range(60):
        example = clip(Split.TRAIN, 0, index, ("appearance",))
        before = {o.shape for o in example.scenes[0].objects}
        after = {o.shape for o in example.scenes[-1].objects}
        assert {example.questions[0].answer} == after - before


def test_order_follows_the_frames() -> None:
    for index in range(100):
        example = clip(Split.TRAIN, 0, index, ("order",), num_questions=4)
        if len({o.shape for o in example.scenes[-1].objects}) < len(example.scenes[-1].objects):
            continue
        since = {
            o.shape: next(
                i for i, s in enumerate(example.scenes) if o.shape in {p.shape for p in s.objects}
            )
            for o in example.scenes[-1].objects
        }
        for question in example.questions:
            named = sorted(
                (question.text.index(shape), shape) for shape in since if shape in question.text
            )
            (_, one), (_, other) = named[:2]
            match re.search(r"first|last|second|before|after", question.text):
                case re.Match() as found if found[0] == "first":
                    expected = min(one, other, key=since.__getitem__)
                case re.Match() as found if found[0] in ("last", "second"):
                    expected = max(one, other, key=since.__getitem__)
                case re.Match() as found:
                    earlier = since[one] < since[other]
                    expected = "yes" if earlier == (found[0] == "before") else "no"
                case None:
                    raise AssertionError(question.text)
            assert question.answer == expected, question.text


def test_a_test_set_has_as_many_of_each_kind() -> None:
    kinds = [
        still(Split.HELD_OUT, 0, i, num_questions=1, all_of=True).questions[0].kind
        for i in range(16)
    ]
    assert sorted(kinds) == sorted(STILL_KINDS * 2)


def test_chat_has_no_pictures() -> None:
    example = text_only(Split.TRAIN, 0, 1, num_questions=3)
    assert example.pictures == ()
    assert len(example.questions) == 3


def test_a_stream_goes_on_where_it_is_told_to() -> None:
    def make(index: int) -> Example:
        return still(Split.TRAIN, 0, index)

    following = stream(make, start=7)
    assert next(following).questions == make(7).questions
    assert next(following).questions == make(8).questions


def _held_out_pairs_named(text: str) -> list[tuple[str, str]]:
    words = re.findall(r"[a-z]+", text.lower())
    singular = {plural: shape for shape, plural in PLURALS.items()}
    neighbours = [(a, singular.get(b, b)) for a, b in itertools.pairwise(words)]
    return [(a, b) for a, b in neighbours if a in COLOURS and b in SHAPES and is_held_out(a, b)]


def _answer(scene: Scene, kind: str, text: str) -> str | None:
    """Nothing for wordings that this does not read."""
    text = text.lower().replace("color", "colour")
    words = re.findall(r"[a-z]+", text)
    singular = {plural: shape for shape, plural in PLURALS.items()}
    words = [singular.get(w, w) for w in words]
    if kind == "size":
        words = [w for w in words if w not in ("small", "medium", "large")]
    fitting = [o for o in scene.objects if _fits(o, words)]
    if kind in ("position", "comparison"):
        return {"position": _position, "comparison": _comparison}[kind](scene, text)
    if kind in ("count", "existence"):
        return str(len(fitting)) if kind == "count" else ("yes" if fitting else "no")
    value = getattr(fitting[0], kind).lower() if len(fitting) == 1 else None
    assert value is None or isinstance(value, str)
    return value


def _fits(thing: Object, words: list[str]) -> bool:
    said = set(words)
    return (
        (thing.colour in said or not said & set(COLOURS))
        and (thing.shape in said or not said & set(SHAPES))
        and (thing.size in said or not said & {"small", "medium", "large"})
    )


def _position(scene: Scene, text: str) -> str | None:
    found = re.match(
        r"(?:is|does) (?:the )?(.+?) (?:lie )?((?:left or right of|above or below)"
        r"|(?:to the |on the )?(?:left|right) of|above|below|under|higher than|lower than)"
        r" the (.+?)(?:\?|$| answer| one word)",
        text,
    )
    if found is None:
        return None
    first = [o for o in scene.objects if _fits(o, found[1].split())]
    second = [o for o in scene.objects if _fits(o, found[3].split())]
    assert len(first) == len(second) == 1, text
    one, other = first[0], second[0]
    asked = found[2].removeprefix("to the ").removeprefix("on the ")
    if asked in ("left or right of", "above or below"):
        across = asked == "left or right of"
        return (
            ("left" if one.x < other.x else "right")
            if across
            else ("above" if one.y < other.y else "below")
        )
    holds = {
        "left of": one.x < other.x,
        "right of": one.x > other.x,
        "above": one.y < other.y,
        "higher than": one.y < other.y,
    }.get(asked, one.y > other.y)
    return "yes" if holds else "no"


def _comparison(scene: Scene, text: str) -> str | None:
    named = r"the (\w+(?: \w+)*?)"
    ends = r"(?:\?|$| answer| one word| have the same or| the same)"
    found = re.search(rf"{named} and {named}{ends}", text)
    found = found or re.search(rf"{named} the same \w+ as {named}{ends}", text)
    quality = re.search(r"(?:same|different) (colour|shape|size)", text)
    if found is None or quality is None:
        return None
    first = [o for o in scene.objects if _fits(o, found[1].split())]
    second = [o for o in scene.objects if _fits(o, found[2].split())]
    assert len(first) == len(second) == 1, text
    same = getattr(first[0], quality[1]) == getattr(second[0], quality[1])
    if "different" in text:
        return "same" if same else "different"
    return "yes" if same else "no"
