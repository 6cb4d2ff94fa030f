"""Making the small checkpoint: a LLaVA that stock vLLM and stock transformers load.

Its weights are random. Its architecture, tokenizer and chat template are those of the model that
is trained, so whatever serves the one serves the other.
"""

import contextlib
import hashlib
import json
import tempfile
from importlib import resources
from pathlib import Path

from saccade.training.architecture import SACCADE_TINY, Architecture, Json
from saccade.training.tokenizer import BOS, END, IMAGE, PAD, build_tokenizer, text_tower_tokenizer
from saccade.training.weights import (
    Shapes,
    model_shapes,
    random_weights,
    text_tower_shapes,
    visual_projection_shapes,
    write_safetensors,
)

WEIGHTS = "model.safetensors"
MANIFEST = "saccade.json"
"""Names what a folder was made from, and the weights it was made with."""

RECIPE = (
    "architecture.py",
    "chat_template.jinja",
    "checkpoint.py",
    "tokenizer.py",
    "vocabulary.py",
    "weights.py",
)
"""What a checkpoint is made from. It is told from an older one by these files themselves, so that
no change to them goes unnoticed."""


class CheckpointError(Exception):
    """A checkpoint cannot be written where it was asked for."""


def create_checkpoint(
    directory: Path, seed: int, architecture: Architecture = SACCADE_TINY
) -> None:
    """Write a checkpoint with random weights, unless the very same one is there already.

    `directory` never holds part of a checkpoint, whenever the process dies and however many
    processes do this at once. A checkpoint that this made from another seed or recipe is replaced.
    Raises `CheckpointError` if anything else is there, trained weights for example.
    """
    origin = _origin(architecture, seed)
    if _holds(directory, origin):
        return
    # Asked again, for another process may have put the very same one there in between.
    if not _may_be_replaced(directory) and not _holds(directory, origin):
        raise CheckpointError(
            f"{directory} exists and is not a checkpoint with random weights made by saccade: "
            "choose another folder"
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as scratch:
        made = Path(scratch, "new")
        _write(made, architecture, seed)
        manifest = {**origin, WEIGHTS: _digest(made / WEIGHTS)}
        (made / MANIFEST).write_text(_dump(manifest), encoding="utf-8")
        if not _holds(directory, origin):
            _put(made, directory, Path(scratch, "old"))


def _text_files(architecture: Architecture) -> dict[str, str]:
    tokenizer = build_tokenizer(architecture)
    return {
        "config.json": _dump(architecture.config()),
        "generation_config.json": _dump(architecture.generation_config()),
        "preprocessor_config.json": _dump(architecture.preprocessor_config()),
        "processor_config.json": _dump(architecture.processor_config()),
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": _dump(
            {
                **_tokenizer_config(architecture.language.max_positions, padding_side="left"),
                "image_token": IMAGE,
                "extra_special_tokens": {"image_token": IMAGE},
                "processor_class": "LlavaProcessor",
            }
        ),
        "chat_template.jinja": _package_file("chat_template.jinja"),
        "text_tower/config.json": _dump(architecture.text_tower_config()),
        "text_tower/tokenizer.json": text_tower_tokenizer(tokenizer).to_str(),
        "text_tower/tokenizer_config.json": _dump(
            _tokenizer_config(architecture.text_tower.max_positions, padding_side="right")
        ),
    }


def _tokenizer_config(max_length: int, *, padding_side: str) -> Json:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "pad_token": PAD,
        "bos_token": BOS,
        "eos_token": END,
        "padding_side": padding_side,
        "clean_up_tokenization_spaces": False,
    }


def _weight_files(architecture: Architecture) -> dict[str, Shapes]:
    return {
        WEIGHTS: model_shapes(architecture),
        "text_tower/model.safetensors": text_tower_shapes(architecture),
        "text_tower/visual_projection.safetensors": visual_projection_shapes(architecture),
    }


def write_text_files(directory: Path, architecture: Architecture) -> None:
    """Configuration, tokenizers and chat template: all but the weights."""
    for name, text in _text_files(architecture).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _write(directory: Path, architecture: Architecture, seed: int) -> None:
    write_text_files(directory, architecture)
    for name, shapes in _weight_files(architecture).items():
        write_safetensors(directory / name, random_weights(shapes, architecture, seed))


def _origin(architecture: Architecture, seed: int) -> Json:
    recipe = hashlib.sha256(repr(architecture).encode())
    for name in RECIPE:
        recipe.update(_package_file(name).encode())
    return {"recipe": recipe.hexdigest(), "seed": seed}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _package_file(name: str) -> str:
    return resources.files("saccade.training").joinpath(name).read_text(encoding="utf-8")


def _holds(directory: Path, origin: Json) -> bool:
    return origin.items() <= _read_manifest(directory).items()


def _read_manifest(directory: Path) -> Json:
    """Empty if there is none."""
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _may_be_replaced(directory: Path) -> bool:
    try:
        return bool(_read_manifest(directory).get(WEIGHTS) == _digest(directory / WEIGHTS))
    except OSError:
        return not directory.exists() or (directory.is_dir() and not any(directory.iterdir()))


def _put(made: Path, directory: Path, old: Path) -> None:
    """Where another process that does the same was faster, its outcome stays; it is the same."""
    try:
        with contextlib.suppress(FileNotFoundError):
            directory.replace(old)
        made.replace(directory)
    except OSError as error:
        if not (directory / MANIFEST).is_file():
            raise CheckpointError(f"cannot write {directory}: {error}") from error


def _dump(data: Json) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
