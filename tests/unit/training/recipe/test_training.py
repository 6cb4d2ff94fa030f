"""A stage runs, goes on after a kill as if nothing had happened, and hands on what it learned."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from saccade.training.recipe import loop
from saccade.training.recipe.log import read_log
from saccade.training.recipe.model import TinyModel
from saccade.training.recipe.settings import RecipeError, TeacherStage, load_stage
from saccade.training.recipe.teacher import TeacherTask
from saccade.training.recipe.train import train
from tests.unit.training.recipe.miniature import (
    CONTRASTIVE,
    INSTRUCTION,
    MINIATURE,
    REFINEMENT,
    TEACHER,
    write_stage,
)


class _KilledError(Exception):
    pass


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    """What each stage starts from, by its name."""
    folder = tmp_path_factory.mktemp("stages")
    teacher = train(write_stage(folder / "1.yaml", TEACHER, steps=2), folder / "1", None, MINIATURE)
    towers = train(
        write_stage(folder / "2.yaml", CONTRASTIVE, steps=2), folder / "2", teacher, MINIATURE
    )
    return {"teacher": None, "contrastive": teacher, "refinement": towers, "instruction": towers}


def _losses(run: Path) -> dict[int, float]:
    return {e["step"]: e["loss"] for e in read_log(run / "log.jsonl") if "loss" in e}


@pytest.mark.parametrize(
    "stage", [TEACHER, CONTRASTIVE, REFINEMENT, INSTRUCTION], ids=lambda s: s["stage"]
)
def test_a_killed_run_goes_on_at_the_same_loss(
    stage: dict[str, object],
    results: dict[str, Path | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, start = write_stage(tmp_path / "stage.yaml", stage), results[str(stage["stage"])]
    whole = train(recipe, tmp_path / "whole", start, MINIATURE)

    take_step = loop._step

    def dies_in_the_fourth_step(*args: Any) -> Any:
        if len(_losses(tmp_path / "killed")) == 3:
            raise _KilledError
        return take_step(*args)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_step", dies_in_the_fourth_step)
        with pytest.raises(_KilledError):
            train(recipe, tmp_path / "killed", start, MINIATURE)
    assert len(_losses(tmp_path / "killed")) == 3
    resumed = train(recipe, tmp_path / "killed", start, MINIATURE)

    assert _losses(tmp_path / "killed") == _losses(tmp_path / "whole")
    for path in whole.rglob("*.safetensors"):
        one, same = load_file(path), load_file(resumed / path.relative_to(whole))
        assert all(torch.equal(one[name], same[name]) for name in one), path


def test_a_run_that_is_over_is_not_trained_again(tmp_path: Path) -> None:
    recipe = write_stage(tmp_path / "stage.yaml", TEACHER, steps=2)
    train(recipe, tmp_path / "run", None, MINIATURE)
    before = (tmp_path / "run" / "log.jsonl").read_text()
    train(recipe, tmp_path / "run", None, MINIATURE)
    assert (tmp_path / "run" / "log.jsonl").read_text() == before


def test_the_last_stage_leaves_the_towers_as_they_are(
    results: dict[str, Path | None], tmp_path: Path
) -> None:
    towers = results["instruction"]
    assert towers is not None
    trained = train(
        write_stage(tmp_path / "3.yaml", INSTRUCTION, steps=2), tmp_path / "3", towers, MINIATURE
    )
    for file in ("model.safetensors", "text_tower/model.safetensors"):
        before, after = load_file(towers / file), load_file(trained / file)
        for name in before:
            frozen = name.startswith(("vision_tower", "text_model", "text_projection"))
            assert torch.equal(before[name], after[name]) == frozen, name
    assert (tmp_path / "3" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_refinement_leaves_the_language_model_as_it_is(
    results: dict[str, Path | None], tmp_path: Path
) -> None:
    towers = results["refinement"]
    assert towers is not None
    trained = train(
        write_stage(tmp_path / "5.yaml", REFINEMENT, steps=2), tmp_path / "5", towers, MINIATURE
    )
    before, after = (load_file(f / "model.safetensors") for f in (towers, trained))
    same = {name for name in before if torch.equal(before[name], after[name])}
    rest = {n for n in before if n.startswith(("language_model", "multi_modal_projector"))}
    assert rest <= same
    assert any(name.startswith("vision_tower") for name in before.keys() - same)


def test_loss_falls_when_the_same_batch_comes_again(tmp_path: Path) -> None:
    settings = load_stage(write_stage(tmp_path / "stage.yaml", TEACHER))
    assert isinstance(settings, TeacherStage)
    torch.manual_seed(0)
    task = TeacherTask(TinyModel(MINIATURE), settings)
    optimizers = loop._optimizers(task, settings.schedule)
    batch = task.batch(0)
    losses = [
        loop._step(task, optimizers, batch, step, 1.0, 1.0)["loss"].item() for step in range(15)
    ]
    assert losses[-1] < 0.8 * losses[0]


def test_a_state_of_another_stage_is_refused(
    results: dict[str, Path | None], tmp_path: Path
) -> None:
    train(write_stage(tmp_path / "1.yaml", TEACHER, steps=2), tmp_path / "run", None, MINIATURE)
    recipe = write_stage(tmp_path / "2.yaml", INSTRUCTION)
    with pytest.raises(RecipeError, match="does not fit this stage"):
        train(recipe, tmp_path / "run", results["instruction"], MINIATURE)


def test_weights_of_another_architecture_are_refused(
    results: dict[str, Path | None], tmp_path: Path
) -> None:
    recipe = write_stage(tmp_path / "3.yaml", INSTRUCTION, steps=2)
    with pytest.raises(RecipeError, match="lacks"):
        train(recipe, tmp_path / "run", results["instruction"])


@pytest.mark.parametrize("stage", [CONTRASTIVE, REFINEMENT, INSTRUCTION], ids=lambda s: s["stage"])
def test_a_folder_without_the_result_of_a_stage_is_refused(
    stage: dict[str, object], tmp_path: Path
) -> None:
    recipe = write_stage(tmp_path / "stage.yaml", stage, steps=2)
    with pytest.raises(RecipeError, match="cannot read"):
        train(recipe, tmp_path / "run", tmp_path / "nowhere", MINIATURE)


def test_stages_say_whether_they_need_another_ones_result(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the stage contrastive needs the result"):
        train(write_stage(tmp_path / "2.yaml", CONTRASTIVE), tmp_path / "run", None, MINIATURE)
    with pytest.raises(RecipeError, match="the stage teacher is the first one"):
        train(write_stage(tmp_path / "1.yaml", TEACHER), tmp_path / "run", tmp_path, MINIATURE)
