"""Writing a small checkpoint with random weights, in the layout and names of the hub.

Weights are drawn so that greedy answers depend on everything that came before.
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
# Qwen3-VL's prompts say when the steps of a clip were shown: "<1.5 seconds>".
STAMPS = ("seconds>", *(f"<{tenths / 10:.1f}" for tenths in range(50)))
VOCABULARY = [*SPECIAL, *WORDS, *STAMPS, *(f"w{index}" for index in range(235 - len(STAMPS)))]
TOKEN_ID = {token: index for index, token in enumerate(VOCABULARY)}


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
