"""Commands that need no engine work without one, and answer at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = {"ray", "torch", "transformers", "vllm"}
SCHEDULER = sorted(
    f"saccade.scheduler.{path.stem}"
    for path in (ROOT / "scheduler").glob("*.py")
    if path.stem != "__init__"
)

COMMAND = """
import json, sys
from saccade.serving.cli.main import app
app({arguments}, standalone_mode=False)
print("\\n" + json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
IMPORT = """
import importlib, json, sys
before = set(sys.modules)
for name in {names}:
    importlib.import_module(name)
print(json.dumps(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})))
"""


def imported_by(script: str) -> set[str]:
    """First names of the modules that a fresh Python has after `script`."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["serve", "--help"],
        ["config", "check", "-c", "configs/local.yaml"],
        ["config", "show", "-c", "configs/local.yaml"],
    ],
    ids=" ".join,
)
def test_a_command_that_needs_no_engine_imports_none(arguments: list[str]) -> None:
    assert imported_by(COMMAND.format(arguments=arguments)).isdisjoint(HEAVY)


def test_the_scheduler_imports_neither_an_engine_nor_an_event_loop() -> None:
    assert SCHEDULER
    imported = imported_by(IMPORT.format(names=SCHEDULER))
    assert imported.isdisjoint(HEAVY | {"asyncio", "pydantic", "socket", "threading"})


def test_what_decides_and_dispatches_in_the_gateway_imports_neither_ray_nor_vllm() -> None:
    names = [
        "saccade.serving.api.guard",
        "saccade.serving.api.edge",
        "saccade.serving.gateway.dispatch",
        "saccade.serving.warmup",
        "saccade.serving.engine.leases",
        "saccade.serving.routes",
    ]
    assert imported_by(IMPORT.format(names=names)).isdisjoint(HEAVY)
