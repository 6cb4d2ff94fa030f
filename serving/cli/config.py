"""`saccade config`: look at the configuration without starting anything."""

import typer

from saccade.serving.cli.options import ConfigFile, Overrides, settings_from

app = typer.Typer(help="Show or check the configuration.", no_args_is_help=True)


@app.command()
def show(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Print the configuration that is in force, defaults included and secrets masked."""
    import yaml

    settings = settings_from(config, overrides)
    typer.echo(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), nl=False)


@app.command()
def check(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Say whether the configuration can be used; exit code 2 when it cannot."""
    settings = settings_from(config, overrides)
    groups = ", ".join(
        f"{group.replicas} x {name} ({'+'.join(group.roles)})"
        for name, group in settings.instances.items()
    )
    typer.echo(f"OK: {settings.model.name} on {groups}; {settings.api.host}:{settings.api.port}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    import json

    from saccade.serving.config.settings import Settings

    typer.echo(json.dumps(Settings.model_json_schema(), indent=2))
