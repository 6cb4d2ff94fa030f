"""From a stage's file to trained weights."""

from pathlib import Path

import torch

from saccade.training.architecture import SACCADE_TINY, Architecture
from saccade.training.recipe.contrastive import ContrastiveTask
from saccade.training.recipe.initial import initialise
from saccade.training.recipe.language import LanguageTask
from saccade.training.recipe.loop import Task, run
from saccade.training.recipe.model import TinyModel, load_weights, save_weights
from saccade.training.recipe.settings import (
    ContrastiveStage,
    RecipeError,
    RefinementStage,
    Stage,
    TeacherStage,
    load_stage,
)
from saccade.training.recipe.teacher import TeacherTask, load_teacher, save_teacher
from saccade.training.recipe.towers import TowersTask

WEIGHTS = "checkpoint"


def train(
    recipe: Path,
    directory: Path,
    start: Path | None = None,
    architecture: Architecture = SACCADE_TINY,
) -> Path:
    """Run a stage, or go on with one. Returns the folder of what it learned, in float32.

    `start` is that folder of the stage before: a teacher for the contrastive stage, weights for
    the later ones. Raises `RecipeError`.
    """
    settings = load_stage(recipe)
    if (start is None) != isinstance(settings, TeacherStage):
        first = "is the first one and takes" if start else "needs"
        raise RecipeError(f"the stage {settings.stage} {first} the result of another one (--from)")
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = TinyModel(architecture).to(device)
    task = _task(model, settings, start)
    for module in task.modules().values():
        module.to(device)
    run(task, directory, settings.schedule, settings.reports, settings.data_workers, device)
    if isinstance(task, TeacherTask):
        save_teacher(task.teacher, directory / WEIGHTS)
    else:
        save_weights(model, directory / WEIGHTS, torch.float32)
    return directory / WEIGHTS


def _task(model: TinyModel, settings: Stage, start: Path | None) -> Task:
    initialise(model)
    if isinstance(settings, TeacherStage):
        return TeacherTask(model, settings)
    assert start is not None
    if isinstance(settings, ContrastiveStage):
        teacher = load_teacher(model.architecture.vision, start).to(model.device)
        return ContrastiveTask(model, settings, teacher)
    load_weights(model, start)
    if isinstance(settings, RefinementStage):
        return TowersTask(model, settings)
    return LanguageTask(model, settings)
