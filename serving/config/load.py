"""Load the configuration, and say clearly what is wrong with it."""

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from saccade.serving.config.settings import Settings, file_values

PREFIX = "SACCADE_"
# Variables of ours that are not part of the tree.
OTHER_VARIABLES = frozenset({"SACCADE_CONFIG", "SACCADE_API_KEY"})


class ConfigError(Exception):
    """The configuration cannot be used; the message names the place and the remedy."""


def load_settings(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read `path`, then the environment, then `overrides` (dotted key to value).

    Raises:
        ConfigError: for an unreadable file, an unknown key, or a value that does not fit.
    """
    values = _read_yaml(path) if path else {}
    _refuse_unknown_variables(os.environ)

    nested = _nest(overrides or {})
    token = file_values.set(values)
    try:
        return Settings(**nested)
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from None
    except SettingsError as error:
        # A variable that stands for a list or a section has to be JSON.
        raise ConfigError(f"environment: {error}: {error.__cause__}") from None
    finally:
        file_values.reset(token)


def parse_override(text: str) -> tuple[str, Any]:
    """`api.port=9000` as a dotted key and a YAML value."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"`{text}` is not of the form section.key=value, as in api.port=9000")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"`{text}`: the value is not valid YAML: {error}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: the top level must be sections such as `model:` and `api:`")
    return {str(name): section for name, section in values.items()}


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        node = tree
        *parents, leaf = dotted.split(".")
        for name in parents:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{dotted}: `{name}` was given a value of its own before")
        node[leaf] = value
    return tree


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """pydantic-settings ignores variables of unknown sections; a typo must not pass silently."""
    for name in environ:
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
            continue
        section = name.removeprefix(PREFIX).split("__")[0].lower()
        if section not in Settings.model_fields:
            near = _nearest(section, Settings.model_fields)
            hint = f"; did you mean {PREFIX}{near.upper()}?" if near else ""
            raise ConfigError(f"environment variable {name}: no section `{section}`{hint}")


def _explain(error: ValidationError, path: Path | None) -> str:
    lines = [f"{path or 'configuration'}: {error.error_count()} problem(s)"]
    for problem in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            *parents, name = problem["loc"]
            near = _nearest(str(name), _fields_at(parents))
            message = "unknown key" + (f"; did you mean `{near}`?" if near else "")
        elif problem["type"] == "missing":
            message = "missing; it has no default"
        lines.append(f"  {place}: {message}" if place else f"  {message}")
    return "\n".join(lines)


def _fields_at(location: Iterable[int | str]) -> Iterable[str]:
    """Names of the fields of the section at `location`; empty where there is none."""
    model: Any = Settings
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            model = field.annotation if field else None
        else:
            # Of list[X] and dict[str, X], the element.
            model = next(iter(get_args(model)[-1:]), None)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return model.model_fields
    return ()


def _nearest(name: str, candidates: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)), None)
