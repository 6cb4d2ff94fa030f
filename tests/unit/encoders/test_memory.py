import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saccade.encoders.base import UnsupportedCheckpointError
from saccade.encoders.memory import Parameters, count_parameters, serving_dtype
from saccade.encoders.registry import ENCODERS
from tests.unit.encoders.test_registry import LLAVA_7B, checkpoint_with


def test_both_halves_are_counted_over_all_shards(tmp_path: Path) -> None:
    checkpoint_with(tmp_path, LLAVA_7B)
    save_file(
        {"vision_tower.a": torch.zeros(2, 3), "multi_modal_projector.b": torch.zeros(5)},
        tmp_path / "1.safetensors",
        metadata={"format": "pt"},
    )
    save_file(
        {"language_model.c": torch.zeros(7, 11), "x": torch.tensor(1)}, tmp_path / "2.safetensors"
    )
    names = {
        "vision_tower.a": "1",
        "multi_modal_projector.b": "1",
        "language_model.c": "2",
        "x": "2",
    }
    weight_map = {name: f"{shard}.safetensors" for name, shard in names.items()}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))

    assert count_parameters(tmp_path, ENCODERS.family(tmp_path)) == Parameters(11, 78)


@pytest.mark.parametrize("content", [b"", b"12345678", b"\xff" * 8 + b"{}"])
def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path, content: bytes) -> None:
    checkpoint_with(tmp_path, LLAVA_7B)
    (tmp_path / "model.safetensors").write_bytes(content)

    with pytest.raises(UnsupportedCheckpointError, match=r"model\.safetensors cannot be read"):
        count_parameters(tmp_path, ENCODERS.family(tmp_path))


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"torch_dtype": "float16"}, "float16"),
        ({"text_config": {"torch_dtype": "float16"}}, "float16"),
        ({}, "float32"),
    ],
)
def test_the_number_format_is_the_checkpoints(
    tmp_path: Path, config: dict[str, object], dtype: str
) -> None:
    from saccade.encoders.checkpoint import CheckpointFiles

    checkpoint_with(tmp_path, config)

    assert serving_dtype(CheckpointFiles.read(tmp_path)) == dtype
