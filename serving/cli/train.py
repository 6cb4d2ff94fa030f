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
            help="checkpoint/ of the stage before; the first stage goes without.",
        ),
    ] = None,
) -> None:
    """Run one stage, or go on with it: the same command again goes on from the last saved state.

    Uses a GPU where there is one. Example, the first two stages:

      saccade train stage training/recipes/saccade-tiny/1-teacher.yaml --run runs/1

      saccade train stage training/recipes/saccade-tiny/2-contrastive.yaml --run runs/2
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
    runs: Annotated[
        list[Path] | None,
        typer.Option("--run", "-r", help="Run whose log and curves come along; once for each."),
    ] = None,
) -> None:
    """Write a checkpoint for serving: bfloat16 weights, tokenizer, chat template, configuration."""
    from saccade.training.recipe.export import export as write
    from saccade.training.recipe.settings import RecipeError

    try:
        write(weights, directory, runs or ())
    except (RecipeError, OSError) as error:
        fail(str(error))
    typer.echo(f"{directory}: ready to serve")
