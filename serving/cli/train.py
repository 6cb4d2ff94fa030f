"""`saccade train`: the small model, stage by stage."""

from pathlib import Path
from typing import Annotated

import typer

from saccade.serving.cli.options import fail

app = typer.Typer(help="Train the small model, stage by stage.", no_args_is_help=True)


@app.command()
def stage(
    recipe: Annotated[Path, typer.Argument(help="YAML file of the stage.")],
    run: Annotated[
        Path, typer.Option("--run", "-r", help="Folder for log, curves, state and weights.")
    ],
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Checkpoint to begin with, such as the checkpoint/ of the stage before; random "
            "weights without it.",
        ),
    ] = None,
) -> None:
    """Run one stage, or go on with it: the same command again goes on from the last saved state.

    Runs on the CPU. Example, the first two stages:

      saccade train stage training/recipes/saccade-tiny/1-contrastive.yaml --run runs/1

      saccade train stage training/recipes/saccade-tiny/2-alignment.yaml --run runs/2
      --from runs/1/checkpoint
    """
    from saccade.training.recipe.settings import RecipeError
    from saccade.training.recipe.train import train

    try:
        weights = train(recipe, run, start)
    except RecipeError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail(f"stopped; the same command goes on from the last state in {run}", 130)
    typer.echo(f"{weights}: trained")


@app.command()
def export(
    weights: Annotated[Path, typer.Argument(help="checkpoint/ of the last stage's run.")],
    directory: Annotated[Path, typer.Argument(help="Folder to write the model to.")],
) -> None:
    """Write a checkpoint for serving: bfloat16 weights, tokenizer, chat template, configuration."""
    from saccade.training.recipe.export import export as write
    from saccade.training.recipe.settings import RecipeError

    try:
        write(weights, directory)
    except (RecipeError, OSError) as error:
        fail(str(error))
    typer.echo(f"{directory}: ready to serve")
