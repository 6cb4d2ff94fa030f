"""Trained weights into a checkpoint that stock vLLM and stock transformers load."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from saccade.training.architecture import SACCADE_TINY
from saccade.training.checkpoint import write_text_files
from saccade.training.recipe.loop import CURVES, LOG
from saccade.training.recipe.model import TinyModel, load_weights, save_weights
from saccade.training.recipe.settings import RecipeError

RECORD = "training"


def export(weights: Path, directory: Path, runs: Sequence[Path] = ()) -> None:
    """Log and curves of each of `runs` come along, numbered. Raises `RecipeError` if `weights` is
    not a checkpoint of this architecture, or one of `runs` is not a run."""
    for run in runs:
        if not (run / LOG).is_file():
            raise RecipeError(f"{run} is not the folder of a run: it has no {LOG}")
    model = TinyModel(SACCADE_TINY)
    load_weights(model, weights)
    directory.mkdir(parents=True, exist_ok=True)
    write_text_files(directory, SACCADE_TINY)
    save_weights(model, directory, torch.bfloat16)
    for number, run in enumerate(runs, start=1):
        record = directory / RECORD / str(number)
        record.mkdir(parents=True, exist_ok=True)
        for name in (LOG, CURVES):
            shutil.copyfile(run / name, record / name)
