"""Stages as files."""

from pathlib import Path

import pytest

from saccade.training.data import MORE_KINDS, STILL_KINDS
from saccade.training.recipe.loop import learning_rate_share
from saccade.training.recipe.settings import LanguageStage, RecipeError, Schedule, load_stage
from tests.unit.training.recipe.miniature import INSTRUCTION, write_stage

RECIPES = sorted(Path("training/recipes").glob("*/*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_in_the_repository_can_be_read(path: Path) -> None:
    assert load_stage(path).schedule.steps > 100


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 3


def test_a_misspelt_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stage.yaml"
    path.write_text(
        "stage: contrastive\nseed: 1\nschedul: {}\n"
        "schedule: {steps: 0, batch_size: 2, learning_rate: 1}"
    )
    with pytest.raises(RecipeError) as raised:
        load_stage(path)
    assert "schedul:" in str(raised.value)
    assert "schedule.steps: Input should be greater than 0" in str(raised.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "stage: unheard-of", "stage: [", "\x00"])
def test_what_is_no_stage_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "stage.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError):
        load_stage(path)


def test_an_unknown_kind_of_question_is_named(tmp_path: Path) -> None:
    schedule = "schedule: {steps: 1, batch_size: 2, learning_rate: 1}"
    path = tmp_path / "stage.yaml"
    path.write_text(f"stage: instruction\nseed: 1\nkinds: [colour, tone]\n{schedule}")
    with pytest.raises(RecipeError, match=r"kinds.1: Input should be 'colour', 'shape'"):
        load_stage(path)


def test_every_kind_about_stills_can_be_trained(tmp_path: Path) -> None:
    kinds = (*STILL_KINDS, *MORE_KINDS)
    path = tmp_path / "stage.yaml"
    path.write_text(
        f"stage: instruction\nseed: 1\nkinds: [{', '.join(kinds)}]\n"
        "schedule: {steps: 1, batch_size: 2, learning_rate: 1}"
    )
    stage = load_stage(path)
    assert isinstance(stage, LanguageStage)
    assert stage.kinds == kinds


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read"):
        load_stage(tmp_path / "stage.yaml")


def test_the_learning_rate_rises_then_falls_to_its_last_share() -> None:
    schedule = Schedule(
        steps=100, batch_size=1, learning_rate=1.0, warmup_ratio=0.1, final_ratio=0.1
    )
    rates = [learning_rate_share(step, schedule) for step in range(101)]
    assert rates[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.1)


def test_lessons_come_one_after_the_other_and_then_the_rest(tmp_path: Path) -> None:
    lessons = [
        {"steps": 2, "kinds": ["side"], "most_objects": 1},
        {"steps": 3, "kinds": ["label"]},
    ]
    stage = load_stage(write_stage(tmp_path / "stage.yaml", {**INSTRUCTION, "lessons": lessons}))
    assert isinstance(stage, LanguageStage)
    asked = [stage.lesson_at(step).kinds for step in (0, 1, 2, 4, 5, 90)]
    assert asked == [("side",), ("side",), ("label",), ("label",), stage.kinds, stage.kinds]
    assert [stage.lesson_at(step).most_objects for step in (1, 2, 5)] == [1, 8, 8]


def test_a_lesson_of_no_objects_is_refused(tmp_path: Path) -> None:
    lessons = [{"steps": 2, "kinds": ["side"], "most_objects": 0}]
    path = write_stage(tmp_path / "stage.yaml", {**INSTRUCTION, "lessons": lessons})
    with pytest.raises(RecipeError, match=r"lessons.0.most_objects"):
        load_stage(path)
