"""A checkpoint's configuration files, read without torch or transformers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from saccade.encoders.base import LanguageSizes, UnsupportedCheckpointError

Json = Mapping[str, Any]

# Published checkpoints leave out what equals the default of their language model's own class.
LANGUAGE_DEFAULTS: Mapping[str, Json] = {
    "llama": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32},
    "mistral": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}


@dataclass(frozen=True)
class CheckpointFiles:
    """config.json, and the settings of the image and of the video processor."""

    config: Json
    image_processor: Json = field(default_factory=dict)
    video_processor: Json = field(default_factory=dict)

    @classmethod
    def read(cls, checkpoint: Path) -> Self:
        """Raises `UnsupportedCheckpointError` if there is no configuration that can be read."""
        config = _read_object(checkpoint / "config.json")
        if config is None:
            raise UnsupportedCheckpointError(
                f"{checkpoint} is not a checkpoint: it has no config.json"
            )
        # Newer checkpoints have one file for all; transformers reads it first, too.
        combined = _read_object(checkpoint / "processor_config.json") or {}
        image = _read_object(checkpoint / "preprocessor_config.json") or {}
        image = combined.get("image_processor") or image
        video = _read_object(checkpoint / "video_preprocessor_config.json") or image
        return cls(config, image, combined.get("video_processor") or video)

    @property
    def architectures(self) -> list[str]:
        return list(self.config.get("architectures") or [])

    @property
    def vision(self) -> Json:
        return dict(self.config.get("vision_config") or {})

    @property
    def text(self) -> Json:
        """Of the language model; older checkpoints have its settings at the root."""
        return dict(self.config.get("text_config") or self.config)

    def language_sizes(self) -> LanguageSizes:
        """Raises `UnsupportedCheckpointError` if a size is neither given nor known."""
        text = self.text
        model_type = str(text.get("model_type", "llama"))
        known = {**LANGUAGE_DEFAULTS.get(model_type, {}), **text}
        try:
            hidden_size = int(known["hidden_size"])
            num_heads = int(known["num_attention_heads"])
            return LanguageSizes(
                hidden_size,
                int(known["num_hidden_layers"]),
                int(known.get("num_key_value_heads") or num_heads),
                int(known.get("head_dim") or hidden_size // num_heads),
            )
        except KeyError as missing:
            raise UnsupportedCheckpointError(
                f"text_config gives no {missing.args[0]}, and the default of {model_type} is not "
                "known"
            ) from None

    def number(self, source: str, name: str, default: int | None = None) -> int:
        """A whole number of `source` (vision, image_processor, …), at least 1.

        Raises `UnsupportedCheckpointError` if it is missing and has no default, or is no number.
        """
        value = getattr(self, source).get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            where = "vision_config" if source == "vision" else source
            raise UnsupportedCheckpointError(
                f"{where} gives no usable {name}: {value!r}, a whole number is needed"
            )
        return value


def _read_object(path: Path) -> dict[str, Any] | None:
    """None if there is no such file."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UnsupportedCheckpointError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise UnsupportedCheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UnsupportedCheckpointError(f"{path} is not a JSON object")
    return content
