import json
from pathlib import Path
from typing import Any

import pytest

from saccade.encoders.base import UnsupportedCheckpointError
from saccade.encoders.checkpoint import CheckpointFiles
from saccade.encoders.memory import Parameters
from saccade.encoders.published import published
from saccade.encoders.registry import ENCODERS
from saccade.serving.config.settings import Settings
from saccade.serving.plan import ModelSizes, plan, sizes_of_checkpoint, sizes_of_published
from tests.unit.some_settings import some_settings

QWEN = "Qwen/Qwen2.5-VL-7B-Instruct"


def qwen() -> ModelSizes:
    return sizes_of_published(published()[QWEN])


def settings(**instances: Any) -> Settings:
    return some_settings(instances=instances, engine={"kv_cache_bytes": 57_344 * 1000})


def test_each_group_keeps_the_weights_of_its_roles() -> None:
    groups = plan(
        settings(
            e={"roles": ["encode"], "replicas": 2},
            l={"roles": ["prefill", "decode"]},
            all={"roles": ["encode", "prefill", "decode"]},
        ),
        qwen(),
    )
    vision, language = 676_550_144 * 2, 7_615_616_512 * 2
    assert [(group.name, group.replicas, group.weights_bytes) for group in groups] == [
        ("e", 2, vision),
        ("l", 1, language),
        ("all", 1, vision + language),
    ]


def test_the_kv_cache_is_counted_in_tokens_where_there_is_an_engine() -> None:
    encode, llm = plan(
        settings(e={"roles": ["encode"]}, l={"roles": ["prefill", "decode"]}), qwen()
    )
    assert (encode.kv_cache_bytes, encode.kv_cache_tokens) == (0, 0)
    assert (llm.kv_cache_bytes, llm.kv_cache_tokens) == (57_344_000, 1000)


def test_a_megapixel_is_a_square_of_a_thousand_pixels() -> None:
    assert qwen().tokens_per_megapixel == 36 * 36


def test_weights_in_an_unknown_format_are_refused_with_the_remedy(tmp_path: Path) -> None:
    files = published()[QWEN].files
    (tmp_path / "config.json").write_text(json.dumps({**files.config, "dtype": "float8_e4m3fn"}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(files.image_processor))
    with pytest.raises(UnsupportedCheckpointError, match=r"float8_e4m3fn.*model\.dtype"):
        sizes_of_checkpoint(tmp_path)


def test_embeddings_for_a_model_without_pictures_are_refused_before_the_start() -> None:
    files = CheckpointFiles(
        {
            "architectures": ["Qwen2ForCausalLM"],
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        {},
        {},
    )
    sizes = ModelSizes(ENCODERS.family_of(files, "words"), "float32", Parameters(0, 1))
    llm = {"l": {"roles": ["prefill", "decode"]}}
    wanted = some_settings(instances=llm, media={"accept_image_embeds": True})
    with pytest.raises(UnsupportedCheckpointError, match=r"media\.accept_image_embeds"):
        plan(wanted, sizes)
    assert plan(some_settings(instances=llm), sizes)
