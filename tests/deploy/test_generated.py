"""Schema and README of the chart are made from its values and their model."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

import saccade
from tests.deploy.chart import CHART, PROFILES, ROOT, values_of
from tools.chart.readme import UndocumentedError, readme, rows
from tools.chart.schema import values_schema


def test_the_schema_is_up_to_date() -> None:
    text = (CHART / "values.schema.json").read_text(encoding="utf-8")
    assert text == values_schema(), "run `make chart`"


def test_the_readme_is_up_to_date() -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    assert text == readme(CHART), "run `make chart`"


def test_helm_gets_to_see_the_schema() -> None:
    ignored = (CHART / ".helmignore").read_text(encoding="utf-8").splitlines()
    assert not any("schema" in line for line in ignored)


def test_every_value_is_documented() -> None:
    documented = [row.key for row in rows((CHART / "values.yaml").read_text(encoding="utf-8"))]
    assert len(documented) > 100
    assert len(set(documented)) == len(documented)


def test_a_value_without_a_comment_is_named() -> None:
    with pytest.raises(UndocumentedError, match=r"a\.c"):
        list(rows("a:\n  # -- Known.\n  b: 1\n  c: 2\n"))


def test_a_comment_of_several_lines_is_one_text() -> None:
    (row,) = rows("# not this\n\n# -- First line\n# and second.\na: {b: 1}\n")
    assert (row.key, row.default, row.text) == ("a", {"b": 1}, "First line and second.")


def test_the_schema_is_one() -> None:
    import json

    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load((CHART / "values.yaml").read_text("utf-8")), schema)


def test_versions_agree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == saccade.__version__
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    lock = (ROOT / "cpu.lock").read_text(encoding="utf-8")
    (ray,) = re.findall(r"^ray==([\d.]+)$", lock, re.MULTILINE)
    assert values["ray"]["version"] == ray


@pytest.mark.parametrize("profile", PROFILES)
def test_values_files_say_what_they_are_for(profile: str) -> None:
    path: Path = CHART / f"values-{profile}.yaml"
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert values_of(profile)["profile"] == ("cpu" if profile == "cpu" else "gpu")
