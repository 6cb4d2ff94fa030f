"""Trained weights into a checkpoint that stock vLLM and stock transformers load."""

from pathlib import Path

import torch

from saccade.training.architecture import SACCADE_TINY
from saccade.training.checkpoint import write_text_files
from saccade.training.recipe.model import TinyModel, load_weights, save_weights


def export(weights: Path, directory: Path) -> None:
    """Raises `RecipeError` if `weights` is not a checkpoint of this architecture."""
    model = TinyModel(SACCADE_TINY)
    load_weights(model, weights)
    directory.mkdir(parents=True, exist_ok=True)
    write_text_files(directory, SACCADE_TINY)
    save_weights(model, directory, torch.bfloat16)
