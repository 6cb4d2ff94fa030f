"""A small checkpoint with random weights for each family, in the layout and names of the hub.

The configurations say what the published ones say, in small; weights are drawn so that greedy
answers depend on everything that came before.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from saccade.encoders.published import Published

Json = dict[str, Any]

SPECIAL = (
    "<pad>", "<s>", "</s>", "<image>", "<video>",
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
WORDS = ("what", "is", "this", "and", "that", "picture", "clip", "colour", "?", ".", "USER", "BOT")
VOCABULARY = [*SPECIAL, *WORDS, *(f"w{index}" for index in range(235))]
TOKEN_ID = {token: index for index, token in enumerate(VOCABULARY)}

LANGUAGE: Json = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TILE, PATCH = 56, 14
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
CLIP: Json = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": PATCH,
    "projection_dim": 16,
}
SIGLIP: Json = {**CLIP, "model_type": "siglip_vision_model", "vision_use_head": False}
PROCESSED: Json = {
    "do_convert_rgb": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": MEAN,
    "image_std": STD,
    "resample": 3,
}


@dataclass(frozen=True)
class TinyFamily:
    """`files` by name, and how names of tensors in transformers become those on the hub."""

    name: str
    files: dict[str, Json]
    hub_name: Callable[[str], str]
    image: str = ""
    """What stands for a picture in a prompt, and for a clip."""
    video: str = ""

    def build(self, directory: Path, seed: int = 0) -> Path:
        """Write the checkpoint; returns its folder."""
        self.describe(directory)
        _write_weights(directory, self, seed)
        return directory

    def describe(self, directory: Path) -> Path:
        """Write all but the weights."""
        directory.mkdir(parents=True)
        for name, content in self.files.items():
            (directory / name).write_text(json.dumps(content, indent=1))
        _write_tokenizer(directory, self)
        return directory

    def with_wider_tower(self, times: int) -> "TinyFamily":
        """For measuring: the vision tower does what takes the time."""
        config = dict(self.files["config.json"])
        vision = dict(config["vision_config"])
        for name in ("hidden_size", "intermediate_size"):
            vision[name] *= times
        vision["num_heads" if "num_heads" in vision else "num_attention_heads"] *= times
        changed = {**self.files, "config.json": {**config, "vision_config": vision}}
        return replace(self, files=changed)

    def sized_as(self, published: Published) -> "TinyFamily":
        """The same family in the sizes of a published checkpoint."""
        changed = {name: dict(content) for name, content in self.files.items()}
        changed["config.json"] |= published.files.config
        changed["preprocessor_config.json"] |= published.files.image_processor
        if "video_preprocessor_config.json" in changed:
            changed["video_preprocessor_config.json"] |= published.files.video_processor
        if "num_image_tokens" in changed.get("processor_config.json", {}):
            vision = published.files.vision
            side = vision["image_size"] // vision["patch_size"]
            changed["processor_config.json"]["num_image_tokens"] = side**2
        return replace(self, files=changed)


def _write_tokenizer(directory: Path, family: TinyFamily) -> None:
    tokenizer = Tokenizer(models.WordLevel(TOKEN_ID, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(directory / "tokenizer.json"))
    processor = family.files.get("preprocessor_config.json", {}).get("processor_class")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "model_max_length": 8192,
        **({"processor_class": processor} if processor else {}),
        **({"image_token": family.image.split()[0]} if family.image == "<image>" else {}),
        **({"video_token": "<video>"} if family.video == "<video>" else {}),
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    template = (
        "<s> {% for message in messages %}{{ message['role'] }} "
        "{% if message['content'] is string %}{{ message['content'] }} {% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}IMAGE {% elif part['type'] == 'video' %}VIDEO "
        "{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endif %}{% endfor %}BOT "
    )
    template = template.replace("IMAGE", family.image).replace("VIDEO", family.video)
    (directory / "chat_template.jinja").write_text(template)


def _write_weights(directory: Path, family: TinyFamily, seed: int) -> None:
    config = AutoConfig.from_pretrained(directory)
    auto: Any = AutoModelForImageTextToText if family.image else AutoModelForCausalLM
    model = auto.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        family.hub_name(name): _random(name, tensor, generator)
        for name, tensor in model.state_dict().items()
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def _random(name: str, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    values = torch.randn(like.shape, generator=generator)
    if "norm" in name or "ln_q" in name:
        return 1 + 0.1 * values if name.endswith("weight") else 0.1 * values
    if like.dim() == 1:
        return 0.1 * values
    if "lm_head" in name:
        return values * 0.5
    gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.3
    return values * gain / math.sqrt(like[0].numel())


def _llava_name(name: str) -> str:
    """`model.language_model.layers` is `language_model.model.layers` on the hub."""
    name = name.replace("model.language_model.", "language_model.model.")
    name = name.replace("lm_head.", "language_model.lm_head.")
    return name.removeprefix("model.").replace("vision_tower.", "vision_tower.vision_model.")


def _qwen_2_5_name(name: str) -> str:
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def _tiled(processor: str, image_processor: str, pinpoints: list[list[int]]) -> Json:
    return {
        **PROCESSED,
        "image_processor_type": image_processor,
        "processor_class": processor,
        "do_resize": True,
        "do_pad": True,
        "image_grid_pinpoints": pinpoints,
    }


def _square(side: int) -> Json:
    return {"height": side, "width": side}


LLAVA = TinyFamily(
    "llava",
    {
        "config.json": {
            "architectures": ["LlavaForConditionalGeneration"],
            "model_type": "llava",
            "image_token_index": TOKEN_ID["<image>"],
            "projector_hidden_act": "gelu",
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "tie_word_embeddings": False,
            "text_config": {**LANGUAGE, "model_type": "llama"},
            "vision_config": CLIP,
        },
        "preprocessor_config.json": {
            **PROCESSED,
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "LlavaProcessor",
            "do_resize": True,
            "size": {"shortest_edge": TILE},
            "do_center_crop": True,
            "crop_size": _square(TILE),
        },
        "processor_config.json": {
            "processor_class": "LlavaProcessor",
            "image_token": "<image>",
            "patch_size": PATCH,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
    },
    _llava_name,
    "<image>",
)

NEXT_PINPOINTS = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
LLAVA_NEXT = TinyFamily(
    "llava_next",
    {
        "config.json": {
            **LLAVA.files["config.json"],
            "architectures": ["LlavaNextForConditionalGeneration"],
            "model_type": "llava_next",
            "image_grid_pinpoints": NEXT_PINPOINTS,
            "use_image_newline_parameter": True,
            "text_config": {**LANGUAGE, "model_type": "mistral", "sliding_window": None},
        },
        "preprocessor_config.json": {
            **_tiled("LlavaNextProcessor", "LlavaNextImageProcessor", NEXT_PINPOINTS),
            "size": {"shortest_edge": TILE},
            "do_center_crop": True,
            "crop_size": _square(TILE),
        },
        "processor_config.json": {
            "processor_class": "LlavaNextProcessor",
            "image_token": "<image>",
            "patch_size": PATCH,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
    },
    _llava_name,
    "<image>",
)

ONEVISION_PINPOINTS = [
    [TILE * rows, TILE * columns] for rows in range(1, 7) for columns in range(1, 7)
]
LLAVA_ONEVISION = TinyFamily(
    "llava_onevision",
    {
        "config.json": {
            "architectures": ["LlavaOnevisionForConditionalGeneration"],
            "model_type": "llava_onevision",
            "image_token_index": TOKEN_ID["<image>"],
            "video_token_index": TOKEN_ID["<video>"],
            "image_grid_pinpoints": ONEVISION_PINPOINTS,
            "projector_hidden_act": "gelu",
            "vision_aspect_ratio": "anyres_max_9",
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "tie_word_embeddings": False,
            "use_image_newline_parameter": True,
            "text_config": {**LANGUAGE, "model_type": "qwen2"},
            "vision_config": SIGLIP,
        },
        "preprocessor_config.json": {
            **_tiled(
                "LlavaOnevisionProcessor", "LlavaOnevisionImageProcessor", ONEVISION_PINPOINTS
            ),
            "size": _square(TILE),
        },
        "video_preprocessor_config.json": {
            **PROCESSED,
            "video_processor_type": "LlavaOnevisionVideoProcessor",
            "processor_class": "LlavaOnevisionProcessor",
            "do_resize": True,
            "size": _square(TILE),
        },
        "processor_config.json": {
            "processor_class": "LlavaOnevisionProcessor",
            "image_token": "<image>",
            "video_token": "<video>",
            "num_image_tokens": (TILE // PATCH) ** 2,
            "vision_aspect_ratio": "anyres_max_9",
            "vision_feature_select_strategy": "full",
        },
    },
    _llava_name,
    "<image>",
    "<video>",
)

QWEN_IMAGE, QWEN_VIDEO = (
    f"<|vision_start|> <|{kind}_pad|> <|vision_end|>" for kind in ("image", "video")
)
QWEN_IDS: Json = {
    "vision_start_token_id": TOKEN_ID["<|vision_start|>"],
    "vision_end_token_id": TOKEN_ID["<|vision_end|>"],
    "image_token_id": TOKEN_ID["<|image_pad|>"],
    "video_token_id": TOKEN_ID["<|video_pad|>"],
}
QWEN2_5_VL = TinyFamily(
    "qwen2_5_vl",
    {
        # The published one has the language model's sizes at the root, too.
        "config.json": {
            **LANGUAGE,
            **QWEN_IDS,
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "model_type": "qwen2_5_vl",
            "hidden_act": "silu",
            "use_sliding_window": False,
            "rope_theta": 10000.0,
            "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
            "vision_config": {
                "depth": 3,
                "hidden_act": "silu",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_heads": 2,
                "in_chans": 3,
                "out_hidden_size": 128,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "spatial_patch_size": 14,
                "window_size": 56,
                "fullatt_block_indexes": [1],
                "tokens_per_second": 2,
                "temporal_patch_size": 2,
            },
        },
        "preprocessor_config.json": {
            "min_pixels": 4 * 28 * 28,
            "max_pixels": 64 * 28 * 28,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": MEAN,
            "image_std": STD,
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    },
    _qwen_2_5_name,
    QWEN_IMAGE,
    QWEN_VIDEO,
)

QWEN3_VL = TinyFamily(
    "qwen3_vl",
    {
        "config.json": {
            **QWEN_IDS,
            "architectures": ["Qwen3VLForConditionalGeneration"],
            "model_type": "qwen3_vl",
            "tie_word_embeddings": False,
            "text_config": {
                **LANGUAGE,
                "model_type": "qwen3_vl_text",
                "head_dim": 32,
                "hidden_act": "silu",
                "rope_theta": 10000.0,
                "rope_scaling": {
                    "rope_type": "default",
                    "mrope_interleaved": True,
                    "mrope_section": [6, 5, 5],
                },
            },
            "vision_config": {
                "model_type": "qwen3_vl",
                "depth": 4,
                "hidden_act": "gelu_pytorch_tanh",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_heads": 2,
                "in_channels": 3,
                "out_hidden_size": 128,
                "patch_size": 16,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0, 2],
            },
        },
        "preprocessor_config.json": {
            "size": {"shortest_edge": 4 * 32 * 32, "longest_edge": 64 * 32 * 32},
            "patch_size": 16,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "image_processor_type": "Qwen2VLImageProcessorFast",
            "processor_class": "Qwen3VLProcessor",
        },
        "video_preprocessor_config.json": {
            "size": {"shortest_edge": 4 * 32 * 32, "longest_edge": 256 * 32 * 32},
            "patch_size": 16,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "video_processor_type": "Qwen3VLVideoProcessor",
            "processor_class": "Qwen3VLProcessor",
        },
    },
    lambda name: name,
    QWEN_IMAGE,
    QWEN_VIDEO,
)

TEXT_ONLY = TinyFamily(
    "text_only",
    {
        "config.json": {
            **LANGUAGE,
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "rope_theta": 10000.0,
        }
    },
    lambda name: name,
)

WITH_PICTURES = (LLAVA, LLAVA_NEXT, LLAVA_ONEVISION, QWEN2_5_VL, QWEN3_VL)
FAMILIES = (*WITH_PICTURES, TEXT_ONLY)
