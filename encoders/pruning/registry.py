"""Pruning stages by name: the built-in ones, and those of installed packages.

A package offers a stage with an entry point in the group `saccade.pruning`; docs/pruning.md has a
whole one. Modules are imported when a stage is first made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError

from saccade.encoders.pruning.names import BUILT_IN
from saccade.encoders.pruning.stage import PluginError, PruningRequestError, PruningStage

GROUP = "saccade.pruning"


class PruningRegistry:
    """Names and what stands behind them. `plugins` are looked up where the package metadata is."""

    def __init__(self, plugins: Iterable[EntryPoint] = ()) -> None:
        self._plugins: dict[str, list[EntryPoint]] = {}
        for plugin in plugins:
            self._plugins.setdefault(plugin.name, []).append(plugin)

    @property
    def names(self) -> list[str]:
        """What a request may ask for."""
        return sorted({*BUILT_IN, *self._plugins})

    def stage_type(self, name: str) -> type[PruningStage]:
        """Raises `PruningRequestError` for an unknown name, `PluginError` for a broken plug-in."""
        offered = self._plugins.get(name, [])
        if name in BUILT_IN:
            if offered:
                raise PluginError(f"{_origin(offered[0])} offers {name}, which is built in")
            built_in: type[PruningStage] = getattr(
                import_module("saccade.encoders.pruning.methods"), BUILT_IN[name].class_name
            )
            return built_in
        if not offered:
            raise PruningRequestError(
                f"there is no pruning method {name!r}; there are {', '.join(self.names)}"
            )
        if len(offered) > 1:
            raise PluginError(f"{' and '.join(map(_origin, offered))} both offer {name}")
        return _load(offered[0])

    def stage(self, request: Mapping[str, Any]) -> PruningStage:
        """Of `{"method": …, "keep": …}`. Raises `PruningRequestError` that names the field."""
        settings = dict(request)
        name = settings.pop("method", None)
        if not isinstance(name, str):
            raise PruningRequestError(f"method: name one of {', '.join(self.names)}")
        stage_type = self.stage_type(name)
        try:
            return stage_type(stage_type.options_type.model_validate(settings))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ".".join(map(str, problem["loc"])) or name
            message = problem["msg"].removeprefix("Value error, ")
            raise PruningRequestError(f"{place}: {message}") from None


@cache
def installed() -> PruningRegistry:
    """With the plug-ins of this environment, looked up once in a process."""
    return PruningRegistry(entry_points(group=GROUP))


def _load(plugin: EntryPoint) -> type[PruningStage]:
    try:
        found = plugin.load()
    except Exception as error:
        raise PluginError(f"{_origin(plugin)} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, PruningStage)):
        raise PluginError(f"{_origin(plugin)} is no subclass of {PruningStage.__qualname__}")
    return found


def _origin(plugin: EntryPoint) -> str:
    package = plugin.dist.name if plugin.dist else "a package"
    return f"{package} ({plugin.value})"
