import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saccade.encoders.base import UnsupportedCheckpointError
from saccade.encoders.weights import read_tensors, tensor_names

ONE, TWO = torch.ones(2, 3), torch.full((4,), 2.0)


@pytest.fixture
def single(tmp_path: Path) -> Path:
    save_file(
        {"tower.a": ONE, "tower.b": TWO, "llm.a": ONE.clone()}, tmp_path / "model.safetensors"
    )
    return tmp_path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """The shard of the language model is not readable, so opening it is an error."""
    save_file({"tower.a": ONE}, tmp_path / "1.safetensors")
    save_file({"tower.b": TWO, "llm.a": ONE}, tmp_path / "2.safetensors")
    (tmp_path / "3.safetensors").write_bytes(b"not safetensors")
    weight_map = {
        "tower.a": "1.safetensors",
        "tower.b": "2.safetensors",
        "llm.a": "2.safetensors",
        "llm.b": "3.safetensors",
    }
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return tmp_path


@pytest.mark.parametrize("kind", ["single", "sharded"])
def test_only_what_was_asked_for_is_read(kind: str, request: pytest.FixtureRequest) -> None:
    checkpoint: Path = request.getfixturevalue(kind)

    tensors = read_tensors(checkpoint, ["tower."])

    assert sorted(tensors) == ["tower.a", "tower.b"]
    assert torch.equal(tensors["tower.a"], ONE)
    assert torch.equal(tensors["tower.b"], TWO)


def test_names_are_known_without_reading(single: Path) -> None:
    assert sorted(tensor_names(single)) == ["llm.a", "tower.a", "tower.b"]


def test_names_of_shards_come_from_the_index(sharded: Path) -> None:
    assert sorted(tensor_names(sharded)) == ["llm.a", "llm.b", "tower.a", "tower.b"]


def test_a_prefix_without_a_tensor_is_named(single: Path) -> None:
    with pytest.raises(UnsupportedCheckpointError, match=r"no tensor named projector\."):
        read_tensors(single, ["tower.", "projector."])


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedCheckpointError, match=r"neither model\.safetensors nor"):
        read_tensors(tmp_path, ["tower."])


def test_an_index_without_a_map_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text("{}")

    with pytest.raises(UnsupportedCheckpointError, match="has no weight map"):
        read_tensors(tmp_path, ["tower."])
