import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from saccade.training.architecture import SACCADE_TINY
from saccade.training.checkpoint import CheckpointError, create_checkpoint

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "tiny"
    create_checkpoint(directory, seed=0)
    return directory


def contents(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    create_checkpoint(tmp_path / "again", seed=0)
    create_checkpoint(tmp_path / "other", seed=1)

    assert contents(tmp_path / "again") == contents(checkpoint)
    weights = "model.safetensors"
    assert contents(tmp_path / "other")[weights] != contents(checkpoint)[weights]


def test_the_bytes_are_the_same_on_every_machine(checkpoint: Path) -> None:
    digest = contents(checkpoint)["model.safetensors"]

    assert digest == "72e83a3f82c350a96b3f40f95e188693f4bacafc5096cc47ee20293e5064a5cd"


def test_it_is_small(checkpoint: Path) -> None:
    sizes = {path: path.stat().st_size for path in checkpoint.rglob("*.safetensors")}

    assert sum(sizes.values()) <= 20 * MEBIBYTE


def test_engines_find_one_file_of_weights_at_the_root(checkpoint: Path) -> None:
    assert [path.name for path in checkpoint.glob("*.safetensors")] == ["model.safetensors"]


def test_tensors_have_the_names_of_the_hub(checkpoint: Path) -> None:
    with safe_open(checkpoint / "model.safetensors", framework="numpy") as file:
        names = set(file.keys())
        assert file.metadata() == {"format": "pt"}

    assert {name.split(".")[0] for name in names} == {
        "vision_tower",
        "multi_modal_projector",
        "language_model",
    }
    assert "vision_tower.vision_model.embeddings.class_embedding" in names
    assert "language_model.model.embed_tokens.weight" in names
    assert "language_model.lm_head.weight" in names


def test_a_checkpoint_that_is_there_stays(checkpoint: Path) -> None:
    before = (checkpoint / "model.safetensors").stat()

    create_checkpoint(checkpoint, seed=0)

    assert (checkpoint / "model.safetensors").stat() == before


def test_one_of_another_seed_or_recipe_is_replaced(checkpoint: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tiny"
    small = replace(SACCADE_TINY, language=replace(SACCADE_TINY.language, num_layers=1))
    create_checkpoint(directory, seed=0, architecture=small)
    create_checkpoint(directory, seed=1)

    create_checkpoint(directory, seed=0)

    assert contents(directory) == contents(checkpoint)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")

    with pytest.raises(CheckpointError, match="choose another folder"):
        create_checkpoint(tmp_path, seed=0)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_weights_that_were_trained_in_place_are_left_alone(tmp_path: Path) -> None:
    create_checkpoint(tmp_path / "tiny", seed=0)
    weights = tmp_path / "tiny" / "model.safetensors"
    weights.write_bytes(b"trained for a night")

    with pytest.raises(CheckpointError, match="choose another folder"):
        create_checkpoint(tmp_path / "tiny", seed=1)

    assert weights.read_bytes() == b"trained for a night"


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tiny").write_text("a note")

    with pytest.raises(CheckpointError, match="choose another folder"):
        create_checkpoint(tmp_path / "tiny", seed=0)


def test_an_empty_folder_is_filled(checkpoint: Path, tmp_path: Path) -> None:
    create_checkpoint(tmp_path, seed=0)

    assert contents(tmp_path) == contents(checkpoint)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    impossible = replace(SACCADE_TINY, vocab_size=100_000)

    with pytest.raises(ValueError, match="99988 are needed"):
        create_checkpoint(tmp_path / "tiny", seed=0, architecture=impossible)

    assert list(tmp_path.iterdir()) == []


def test_several_at_once_make_one_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tiny"
    create_checkpoint(directory, seed=1)

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(create_checkpoint, directory, 0) for _ in range(4)]
    for one in done:
        one.result()

    assert contents(directory) == contents(checkpoint)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_making_one_needs_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys, json, pathlib\n"
        "from saccade.training.checkpoint import create_checkpoint\n"
        "create_checkpoint(pathlib.Path(sys.argv[1]), seed=0)\n"
        "print(json.dumps([m for m in ('torch', 'transformers', 'vllm') if m in sys.modules]))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "tiny")],
        check=True,
        capture_output=True,
        text=True,
    )

    assert json.loads(done.stdout) == []
