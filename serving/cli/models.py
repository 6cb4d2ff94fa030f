"""`saccade models`: what can be served, and what one checkpoint will take."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saccade.serving.cli.options import fail

if TYPE_CHECKING:
    from saccade.serving.plan import ModelSizes

EPILOG = """Examples:

  saccade models

  saccade models Qwen/Qwen2.5-VL-7B-Instruct

  saccade models ./checkpoints/my-llava --json
"""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def models(
    model: Annotated[
        str | None, typer.Argument(metavar="[FOLDER|HUB-ID]", help="A checkpoint to look at.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the model families that can be served, or say what one checkpoint needs.

    Sizes are read from headers; no weights are loaded. The checkpoints that are listed by name are
    known without a download.
    """
    if model is None:
        _list(as_json)
    else:
        _show(model, as_json)


def _list(as_json: bool) -> None:
    rows = _rows()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("family", "pictures", "several", "video"):
        table.add_column(title, no_wrap=True)
    table.add_column("pruning")
    for row in rows:
        marks = ("pictures", "several_pictures", "video")
        table.add_row(
            row["family"],
            *("yes" if row[mark] else "-" for mark in marks),
            ", ".join(row["pruning"]),
        )
    table.add_row("text only", "-", "-", "-", "-")
    console = Console(highlight=False)
    console.print(table)
    console.print("\nText only: every …ForCausalLM that vLLM serves.")
    console.print("Known without a download (saccade models ID):")
    for row in rows:
        for name in row["known"]:
            console.print(f"  {name}", soft_wrap=True)


def _rows() -> list[dict[str, Any]]:
    """One for each family with a vision tower."""
    from saccade.encoders.pruning.names import BUILT_IN
    from saccade.encoders.published import published
    from saccade.encoders.registry import ENCODERS

    return [
        {
            "family": family.name,
            "architectures": list(family.architectures),
            "pictures": family.support.pictures,
            "several_pictures": family.support.pictures,
            "video": family.support.video,
            "exposes": list(family.support.exposes),
            "pruning": [
                name
                for name, method in BUILT_IN.items()
                if not method.needs_attention or "attention" in family.support.exposes
            ],
            "known": [
                name
                for name, one in published().items()
                if set(one.files.architectures) & set(family.architectures)
            ],
        }
        for family in ENCODERS.families()
    ]


def _show(model: str, as_json: bool) -> None:
    from saccade.encoders.base import UnsupportedCheckpointError
    from saccade.serving.plan import in_words

    try:
        sizes = _sizes(model)
    except UnsupportedCheckpointError as error:
        fail(str(error), 2)
    facts = _facts(sizes)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    lines = [
        f"{facts['family']}, {facts['dtype']}",
        f"  encode           {in_words(facts['vision_bytes'])} of weights",
        f"  prefill, decode  {in_words(facts['language_bytes'])} of weights, and a KV cache of "
        f"{facts['kv_bytes_per_token']:,} bytes a token",
    ]
    if facts["tokens_per_megapixel"] is None:
        del lines[1]
    else:
        lines.append(f"  visual tokens    {facts['tokens_per_megapixel']:,} for a megapixel")
    typer.echo("\n".join(lines))


def _sizes(model: str) -> "ModelSizes":
    from saccade.encoders.published import published
    from saccade.serving.cli.find_model import find_model, not_here
    from saccade.serving.plan import sizes_of_checkpoint, sizes_of_published

    folder = find_model(model)
    if folder is None and model in published():
        return sizes_of_published(published()[model])
    if folder is None and not Path(model).expanduser().exists():
        fail(not_here(model), 2)
    return sizes_of_checkpoint(folder or Path(model))


def _facts(sizes: "ModelSizes") -> dict[str, Any]:
    return {
        "family": sizes.family.name,
        "pictures": sizes.family.support.pictures,
        "video": sizes.family.support.video,
        "dtype": sizes.dtype,
        "vision_bytes": sizes.vision_bytes,
        "language_bytes": sizes.language_bytes,
        "kv_bytes_per_token": sizes.kv_bytes_per_token,
        "tokens_per_megapixel": sizes.tokens_per_megapixel,
    }
