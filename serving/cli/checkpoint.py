"""`saccade checkpoint`: the small built-in model."""

from pathlib import Path
from typing import Annotated

import typer

from saccade.serving.cli.options import fail

app = typer.Typer(help="The small built-in checkpoint.", no_args_is_help=True)


@app.command()
def create(
    directory: Annotated[Path, typer.Argument(help="Folder to write; made if missing.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write the small LLaVA checkpoint with random weights, in a few seconds."""
    from saccade.training.checkpoint import CheckpointError, create_checkpoint

    try:
        create_checkpoint(directory, seed)
    except (CheckpointError, OSError) as error:
        fail(str(error))
    typer.echo(f"{directory}: ready (random weights, seed {seed})")
