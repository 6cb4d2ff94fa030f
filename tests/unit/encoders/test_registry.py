import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from saccade.encoders.base import UnsupportedCheckpointError
from saccade.encoders.registry import ENCODERS, EncoderRegistry
from saccade.training.architecture import SACCADE_TINY

# What llava-hf/llava-1.5-7b-hf states; the rest is the default of its classes.
LLAVA_7B: dict[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "text_config": {"model_type": "llama", "vocab_size": 32064},
    "vision_config": {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14},
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
}


def checkpoint_with(directory: Path, config: object) -> Path:
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def test_llava_7b_has_576_tokens(tmp_path: Path) -> None:
    family = ENCODERS.family(checkpoint_with(tmp_path, LLAVA_7B))

    assert family.picture(1, 1).num_tokens == family.picture(4000, 30).num_tokens == 576
    assert family.hidden_size == family.row_size == 4096


def test_saccade_tiny_has_as_many_as_its_architecture_says(tmp_path: Path) -> None:
    family = ENCODERS.family(checkpoint_with(tmp_path, SACCADE_TINY.config()))

    assert family.picture(640, 480).num_tokens == SACCADE_TINY.vision.num_patches == 144
    assert family.hidden_size == SACCADE_TINY.language.hidden_size


def test_the_class_token_counts_where_it_is_kept(tmp_path: Path) -> None:
    config = {**LLAVA_7B, "vision_feature_select_strategy": "full"}

    family = ENCODERS.family(checkpoint_with(tmp_path, config))

    assert family.picture(640, 480).num_tokens == 577


def test_a_language_model_alone_is_known_and_takes_no_pictures(tmp_path: Path) -> None:
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    checkpoint = checkpoint_with(tmp_path, config)

    family = ENCODERS.family(checkpoint)

    assert not family.support.pictures
    assert family.language.head_dim == 16
    with pytest.raises(UnsupportedCheckpointError, match="no vision tower"):
        ENCODERS.load_encoder(checkpoint)


def test_every_family_is_registered_for_what_it_says() -> None:
    said = {name for family in ENCODERS.families() for name in family.architectures}

    assert said == set(ENCODERS.architectures)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"architectures": ["MllamaForConditionalGeneration"]}, "Mllama.*, known are LlavaFor"),
        ({}, "not stated, known are LlavaFor"),
        ([1], "not a JSON object"),
        (
            {**LLAVA_7B, "vision_config": {"model_type": "pixtral"}},
            "has to be clip_vision_model, not pixtral",
        ),
        ({**LLAVA_7B, "vision_config": {"image_size": 336}}, "no usable patch_size"),
        ({**LLAVA_7B, "vision_feature_select_strategy": "class"}, "not class"),
        ({**LLAVA_7B, "text_config": {"model_type": "qwen2"}}, "the default of qwen2"),
        ({**LLAVA_7B, "vision_feature_layer": [-2, -3]}, "has to be one layer"),
    ],
)
def test_what_cannot_be_counted_is_refused_with_the_reason(
    tmp_path: Path, config: object, reason: str
) -> None:
    with pytest.raises(UnsupportedCheckpointError, match=reason):
        ENCODERS.family(checkpoint_with(tmp_path, config))


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedCheckpointError, match=str(tmp_path)):
        ENCODERS.family(tmp_path)


def test_a_config_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")

    with pytest.raises(UnsupportedCheckpointError, match="not JSON"):
        ENCODERS.load_encoder(tmp_path)


def test_an_architecture_has_one_family() -> None:
    registry = EncoderRegistry()
    registry.register("A", "nowhere:F")

    with pytest.raises(ValueError, match="A is registered already"):
        registry.register("A", "nowhere:F")

    assert registry.architectures == ["A"]


def test_counting_imports_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from saccade.encoders.registry import ENCODERS\n"
        "ENCODERS.families()\n"
        "ENCODERS.family(pathlib.Path(sys.argv[1])).picture(1, 1)\n"
        "print([m for m in ('torch', 'transformers', 'vllm') if m in sys.modules])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(checkpoint_with(tmp_path, LLAVA_7B))],
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout.strip() == "[]"
