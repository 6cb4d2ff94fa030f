from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saccade.encoders.base import Family
from saccade.encoders.published import published
from saccade.encoders.registry import ENCODERS
from saccade.encoders.revision import encoder_revision

FILES = next(one.files for name, one in published().items() if "llava-1.5" in name)


def a_family(**changes: object) -> Family:
    return ENCODERS.family_of(replace(FILES, **changes), "llava")  # type: ignore[arg-type]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save(tmp_path)
    return tmp_path


def save(folder: Path, *, root: str = "", **changed: float) -> None:
    names = [f"{prefix}weight" for prefix in a_family().weights]
    tensors = {
        root + name: torch.full((2, 3), changed.get("first", 1.0) if not index else 2.0)
        for index, name in enumerate(names)
    }
    tensors[f"{root}language_model.weight"] = torch.full((2,), changed.get("language", 3.0))
    save_file(tensors, folder / "model.safetensors")


def test_the_same_encoder_has_the_same_revision_wherever_it_lies(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("copy")
    save(other, language=9.0)
    revisions = {encoder_revision(folder, a_family(), "bfloat16") for folder in (checkpoint, other)}
    assert len(revisions) == 1
    assert len(revisions.pop()) == 32


def test_one_changed_weight_is_another_revision(checkpoint: Path) -> None:
    before = encoder_revision(checkpoint, a_family(), "bfloat16")
    save(checkpoint, first=1.0000001)
    assert encoder_revision(checkpoint, a_family(), "bfloat16") != before


def test_the_number_format_and_the_preprocessing_are_part_of_it(checkpoint: Path) -> None:
    other_size = a_family(image_processor={**FILES.image_processor, "do_rescale": False})
    revisions = {
        encoder_revision(checkpoint, a_family(), "bfloat16"),
        encoder_revision(checkpoint, a_family(), "float32"),
        encoder_revision(checkpoint, other_size, "bfloat16"),
    }
    assert len(revisions) == 3


def test_names_as_transformers_saves_them_are_found(checkpoint: Path) -> None:
    save(checkpoint, root="model.")
    assert encoder_revision(checkpoint, a_family(), "float32")
