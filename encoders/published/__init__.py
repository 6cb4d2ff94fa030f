"""Published checkpoints whose configuration is known here, so that they can be planned for without
a download: one YAML file each, with what config.json and the processors' files say of sizes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from saccade.encoders.checkpoint import CheckpointFiles


@dataclass(frozen=True)
class Published:
    """`name` is the id on the hub; parameters are counted by part."""

    name: str
    files: CheckpointFiles
    vision_parameters: int
    language_parameters: int
    bytes_per_parameter: int = 2
    """All of them are published in 16 bits."""


@cache
def published() -> Mapping[str, Published]:
    """By id on the hub."""
    folder = resources.files("saccade.encoders.published")
    files = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    known = [_parsed(yaml.safe_load(folder.joinpath(name).read_text("utf-8"))) for name in files]
    return {one.name: one for one in known}


def _parsed(content: dict[str, Any]) -> Published:
    image = content.get("image_processor", {})
    return Published(
        content["name"],
        CheckpointFiles(content["config"], image, content.get("video_processor", image)),
        content["vision_parameters"],
        content["language_parameters"],
    )
