"""Reading some tensors of a checkpoint without the rest of it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from saccade.encoders.base import UnsupportedCheckpointError
from saccade.encoders.memory import INDEX_FILE, weight_files, weight_map


def read_tensors(checkpoint: Path, prefixes: Sequence[str]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with one of `prefixes`, by their full names, on the CPU.

    Only the shards that hold one of them are opened. Raises `UnsupportedCheckpointError` if the
    checkpoint has no safetensors, or no tensor for one of the prefixes.
    """
    wanted = tuple(prefixes)
    tensors: dict[str, torch.Tensor] = {}
    for shard in _shards(checkpoint, wanted):
        with _opened(shard) as file:
            names = [name for name in file.keys() if name.startswith(wanted)]  # noqa: SIM118
            tensors |= {name: file.get_tensor(name) for name in names}
    for prefix in wanted:
        if not any(name.startswith(prefix) for name in tensors):
            raise UnsupportedCheckpointError(f"{checkpoint} has no tensor named {prefix}…")
    return tensors


def vision_prefixes(checkpoint: Path, prefixes: Sequence[str]) -> tuple[str, list[str]]:
    """How names begin in this checkpoint: what stands before all of them, and the prefixes with it.

    Hub checkpoints have bare names, or they begin with "model." as transformers saves them.
    """
    saved = tuple(f"model.{prefix}" for prefix in prefixes)
    root = "model." if any(name.startswith(saved) for name in tensor_names(checkpoint)) else ""
    return root, [root + prefix for prefix in prefixes]


def tensor_names(checkpoint: Path) -> Iterable[str]:
    """Every tensor of the checkpoint, without reading one."""
    index = checkpoint / INDEX_FILE
    if index.is_file():
        return list(weight_map(index))
    [single] = weight_files(checkpoint)
    with _opened(single) as file:
        return list(file.keys())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UnsupportedCheckpointError(f"{path} cannot be read: {error}") from error


def _shards(checkpoint: Path, prefixes: tuple[str, ...]) -> list[Path]:
    index = checkpoint / INDEX_FILE
    if not index.is_file():
        return weight_files(checkpoint)
    files = {file for name, file in weight_map(index).items() if name.startswith(prefixes)}
    return [checkpoint / file for file in sorted(files)]
