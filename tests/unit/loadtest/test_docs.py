"""docs/loadtest.md says what the code says."""

from pathlib import Path

import pytest

from saccade.loadtest.metrics.definitions import METRICS, RUN_DEFINITIONS
from saccade.loadtest.records import ErrorKind
from saccade.loadtest.workloads.presets import PRESETS
from saccade.serving.cli.loadtest import app

PAGE = (Path(__file__).parents[3] / "docs" / "loadtest.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", METRICS)
def test_metrics_are_defined_as_in_the_help(key: str) -> None:
    metric = METRICS[key]
    assert f"| {metric.title} | `{key}` | {metric.definition} |" in PAGE


@pytest.mark.parametrize("name", RUN_DEFINITIONS)
def test_numbers_of_a_run_are_defined_as_in_the_help(name: str) -> None:
    assert f"| {name} | {RUN_DEFINITIONS[name]} |" in PAGE


def test_every_preset_error_and_command_is_named() -> None:
    commands = [
        command.callback.__name__ for command in app.registered_commands if command.callback
    ]
    for name in [*PRESETS, *ErrorKind, *commands]:
        assert f"`{name}`" in PAGE, name
