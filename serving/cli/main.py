"""The command `saccade`. Each subcommand imports what it needs when it runs."""

from typing import Annotated

import typer

import saccade
from saccade.serving.cli import (
    cache,
    chat,
    checkpoint,
    config,
    dataset,
    evaluate,
    keys,
    loadtest,
    models,
    plan,
    serve,
    simulate,
    train,
)

app = typer.Typer(
    name="saccade",
    help="Elastic, disaggregated serving for multimodal LLMs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("serve")(serve.serve)
app.command("chat")(chat.chat)
app.command("eval")(evaluate.evaluate)
app.command("models", epilog=models.EPILOG)(models.models)
app.command("simulate", epilog=simulate.EPILOG)(simulate.simulate)
app.command("plan", epilog=plan.EPILOG)(plan.plan)
app.add_typer(config.app, name="config")
app.add_typer(cache.app, name="cache")
app.add_typer(keys.app, name="keys")
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(dataset.app, name="dataset")
app.add_typer(train.app, name="train")
app.add_typer(loadtest.app, name="loadtest")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"saccade {saccade.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    app()
