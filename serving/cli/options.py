"""Options that several commands share, and how commands fail."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from saccade.serving.config.settings import Settings

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="SACCADE_CONFIG",
        help="YAML file, such as configs/local.yaml. Environment variables (SACCADE_API__PORT) "
        "and flags come after it and win.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one value, for example --set api.port=9000. May be repeated.",
    ),
]


def fail(message: str, code: int = 1) -> NoReturn:
    """Print what is wrong and what to do about it, and exit."""
    print(f"saccade: {message}", file=sys.stderr)
    raise typer.Exit(code)


def settings_from(config: Path | None, overrides: list[str] | None, **flags: Any) -> "Settings":
    """The settings in force; exits with code 2 and a message when they cannot be used."""
    from saccade.serving.config.load import ConfigError, load_settings, parse_override

    try:
        values = dict(parse_override(text) for text in overrides or [])
        values |= {key: value for key, value in flags.items() if value is not None}
        return load_settings(config, values)
    except ConfigError as error:
        fail(str(error), 2)
