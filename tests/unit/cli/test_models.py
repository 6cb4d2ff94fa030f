import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from saccade.encoders.published import published
from saccade.serving.cli.find_model import find_model
from saccade.serving.cli.main import app
from tests.unit.encoders.test_registry import LLAVA_7B, checkpoint_with

QWEN = "Qwen/Qwen2.5-VL-7B-Instruct"


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner(env=variables).invoke(app, list(arguments))


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    """A configuration of the real size with a few numbers as weights."""
    folder = tmp_path / "my-llava"
    folder.mkdir()
    checkpoint_with(folder, {**LLAVA_7B, "dtype": "bfloat16"})
    tensors = {"vision_tower.a": torch.zeros(1000), "language_model.b": torch.zeros(3000)}
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_every_family_is_listed_with_what_it_takes() -> None:
    result = run("models", "--json")
    assert result.exit_code == 0, result.output
    rows = {row["family"]: row for row in json.loads(result.stdout)}
    assert set(rows) == {"LLaVA-1.5", "LLaVA-NeXT", "LLaVA-OneVision", "Qwen2.5-VL", "Qwen3-VL"}
    assert all(row["pictures"] for row in rows.values())
    with_video = {name for name, row in rows.items() if row["video"]}
    assert with_video == {"LLaVA-OneVision", "Qwen2.5-VL", "Qwen3-VL"}
    assert sorted(name for row in rows.values() for name in row["known"]) == sorted(published())
    assert all({"cdpruner", "holitom", "uniform"} <= set(row["pruning"]) for row in rows.values())


def test_the_list_for_people_names_the_same() -> None:
    result = run("models")
    assert result.exit_code == 0, result.output
    for name in ("LLaVA-NeXT", "Qwen3-VL", "text only", QWEN):
        assert name in result.stdout


def test_a_published_checkpoint_is_known_without_a_download(tmp_path: Path) -> None:
    result = run("models", QWEN, HF_HUB_CACHE=str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "1.35 GB of weights" in result.stdout
    assert "57,344 bytes a token" in result.stdout
    assert "1,296 for a megapixel" in result.stdout


def test_a_folder_is_measured_from_its_headers(llava: Path) -> None:
    facts = json.loads(run("models", str(llava), "--json").stdout)
    assert (facts["vision_bytes"], facts["language_bytes"]) == (2000, 6000)
    assert facts["tokens_per_megapixel"] == 576
    assert facts["kv_bytes_per_token"] == 524_288


@pytest.mark.parametrize("command", [["models"], ["serve", "--model"]])
def test_an_unsupported_checkpoint_is_refused_with_the_list(
    command: list[str], tmp_path: Path
) -> None:
    checkpoint_with(tmp_path, {"architectures": ["MllamaForConditionalGeneration"]})
    result = run(*command, str(tmp_path))
    assert result.exit_code == 2
    assert "MllamaForConditionalGeneration, known are LlavaFor" in result.stderr
    assert "Qwen3VLForConditionalGeneration" in result.stderr


def test_a_model_that_is_nowhere_is_said_to_be_so(tmp_path: Path) -> None:
    result = run("models", "nobody/nothing", HF_HUB_CACHE=str(tmp_path))
    assert result.exit_code == 2
    assert "nobody/nothing: there is no such checkpoint on this machine" in result.stderr
    assert "hf download nobody/nothing" in result.stderr


def test_a_model_that_is_not_on_this_machine_is_not_fetched(tmp_path: Path) -> None:
    result = run("serve", "--model", QWEN, HF_HUB_CACHE=str(tmp_path))
    assert result.exit_code == 2
    assert f"It is supported; fetch it with `hf download {QWEN}`" in result.stderr


def test_a_language_model_alone_has_no_use_for_an_encode_instance(tmp_path: Path) -> None:
    text = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 8}
    checkpoint_with(tmp_path, {**text, "num_hidden_layers": 1, "num_attention_heads": 1})
    save_file({"model.a": torch.zeros(4)}, tmp_path / "model.safetensors")
    groups = 'instances={"all": {"roles": ["encode", "prefill", "decode"]}}'
    result = run("serve", "--model", str(tmp_path), "--set", groups)
    assert result.exit_code == 2
    assert "no use for an encode instance" in result.stderr


def test_a_model_is_found_where_the_hubs_tools_put_it(
    llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--me--my-llava" / "snapshots" / "0123"
    snapshot.parent.mkdir(parents=True)
    llava.rename(snapshot)
    assert find_model("me/my-llava") == snapshot
    assert find_model("me/other") is None
    assert find_model("my-llava") is None
