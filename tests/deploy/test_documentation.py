"""What the pages about deploying name exists."""

import re

import pytest

from tests.deploy.chart import CHART, ROOT

PAGES = ("deploying.md", "kubernetes.md", "metrics.md", "security.md", "tracing.md")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / "docs" / target).exists(), target


def test_every_threat_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    table = text.partition("## Threats")[2].partition("## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 10
    for row in rows:
        tests = re.findall(r"`(tests/[^`]+)`", row)
        assert tests, row
        for test in tests:
            assert (ROOT / test).is_file(), test


def test_values_that_the_pages_name_exist() -> None:
    documented = set(
        re.findall(r"^\| `([^`]+)` \|", (CHART / "README.md").read_text("utf-8"), re.M)
    )
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    sections = "auth|gateway|ray|models|networkPolicy|monitoring"
    named = set(re.findall(rf"`((?:{sections})\.\w+(?:\.\w+)*)", text))
    assert named
    for name in named:
        known = any(key == name or key.startswith(f"{name}.") for key in documented)
        assert known, name
