"""How large a checkpoint's two halves are, from the headers of its files; nothing is loaded."""

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saccade.encoders.base import Family, UnsupportedCheckpointError
from saccade.encoders.checkpoint import CheckpointFiles

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
BYTES_PER_NUMBER = {"float32": 4, "bfloat16": 2, "float16": 2}
# Headers are kilobytes; a length beyond this is no header.
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Parameters:
    """Numbers in the tower with its projector, and in the language model."""

    vision: int
    language: int


def count_parameters(checkpoint: Path, family: Family) -> Parameters:
    """Raises `UnsupportedCheckpointError` if there are no safetensors that can be read."""
    vision = language = 0
    for path in weight_files(checkpoint):
        for name, size in _sizes(path):
            if name.removeprefix("model.").startswith(family.weights):
                vision += size
            else:
                language += size
    return Parameters(vision, language)


def weight_files(checkpoint: Path) -> list[Path]:
    """The shards of a checkpoint, or its one file."""
    index = checkpoint / INDEX_FILE
    if index.is_file():
        return [checkpoint / name for name in sorted(set(weight_map(index).values()))]
    single = checkpoint / SINGLE_FILE
    if not single.is_file():
        raise UnsupportedCheckpointError(f"{checkpoint} has neither {SINGLE_FILE} nor {INDEX_FILE}")
    return [single]


def weight_map(index: Path) -> dict[str, str]:
    """Which file holds which tensor."""
    try:
        entries = json.loads(index.read_bytes())["weight_map"]
        return {str(name): str(file) for name, file in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnsupportedCheckpointError(f"{index} has no weight map: {error!r}") from error


def serving_dtype(files: CheckpointFiles) -> str:
    """The number format that the weights are stored in, as vLLM's `auto` takes it."""
    config = files.config
    for source in (config, files.text):
        for name in ("dtype", "torch_dtype"):
            if source.get(name):
                return str(source[name])
    return "float32"


def _sizes(path: Path) -> Iterator[tuple[str, int]]:
    """Name and number of elements of each tensor of a safetensors file."""
    for name, entry in _header(path).items():
        if name != "__metadata__":
            yield name, math.prod(entry["shape"])


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {length} bytes")
            header: dict[str, Any] = json.loads(file.read(length))
            return header
    except (OSError, ValueError, struct.error) as error:
        raise UnsupportedCheckpointError(f"{path} cannot be read: {error}") from error
