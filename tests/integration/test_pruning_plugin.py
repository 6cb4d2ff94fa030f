"""The plug-in of docs/pruning.md, installed like any package."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USE = """
import json
import torch
from saccade.encoders.base import VisualTokens
from saccade.encoders.pruning.pipeline import Pipeline
from saccade.encoders.pruning.registry import installed
from saccade.encoders.pruning.stage import Shape, Visual

pipeline = Pipeline.of({"method": "outstanding", "keep": 2, "power": 1.0}, installed())
tokens = torch.zeros(5, 3)
tokens[1], tokens[3] = 4, -9
outcome = pipeline.apply(Visual(VisualTokens(tokens, None, 5), Shape(4, 1, 1)), None)
print(json.dumps({
    "planned": pipeline.plan(Shape(4, 1, 1)).num_tokens,
    "places": outcome.visual.tokens.positions[:, 0].tolist(),
    "method": outcome.reports[0].method,
    "farthest": outcome.reports[0].details["farthest"],
}))
"""


def documented_files() -> dict[str, str]:
    """The page's blocks that begin with the name of a file."""
    page = (ROOT / "docs" / "pruning.md").read_text()
    return dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", page, re.DOTALL))


@pytest.mark.slow
def test_the_documented_plugin_installs_and_runs(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for name, text in documented_files().items():
        (source / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-index", "--target", site, source], check=True, timeout=240)

    done = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "planned": 3,
        "places": [1, 3, 4],
        "method": "outstanding",
        "farthest": pytest.approx(3 * (9 - 1.25)),
    }


def test_the_documented_plugin_is_short() -> None:
    assert len(documented_files()["outstanding.py"].splitlines()) <= 30
