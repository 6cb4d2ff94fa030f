"""The page that is committed: ratios that do not claim more than was simulated, and the whole."""

from dataclasses import replace
from pathlib import Path

import pytest

from saccade.scheduler.simulator.output.paper import tidy, write_report
from saccade.scheduler.simulator.output.paper_tables import best_capacity
from saccade.scheduler.simulator.scenario import (
    SLO_SCALES,
    Outcome,
    Scenario,
    WorkloadSpec,
    simulate,
)
from saccade.scheduler.simulator.sweep import Sweep


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return simulate(Scenario("coupled-vllm-today", WorkloadSpec("sharegpt4o", 2.0, 5.0)))


def carrying(outcome: Outcome, rate: float) -> Sweep:
    """Meets the SLO at rates of 10, 20 and 40 up to this one, and never beyond."""
    runs = {
        one: [replace(outcome, attainment=dict.fromkeys(SLO_SCALES, float(one <= rate)))]
        for one in (10.0, 20.0, 40.0)
    }
    return Sweep("p", runs)


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [
        (20, 10, "2.00x (SLO x1)"),
        (40, 20, "≥ 1.82x (SLO x1)"),
        (20, 40, "≤ 0.55x (SLO x1)"),
        (40, 40, "both carry 40 rps and more"),
        (10, 0, "only elastic carries the lowest rate (SLO x1)"),
        (0, 0, "neither carries the lowest rate"),
    ],
)
def test_a_ratio_to_what_was_not_exhausted_is_a_bound(
    outcome: Outcome, ours: float, theirs: float, text: str
) -> None:
    assert best_capacity(carrying(outcome, theirs), carrying(outcome, ours)) == text


def test_headings_and_paragraphs_are_one_line_apart() -> None:
    assert tidy("a\n\n\n\nb\n## c\nd\n\n") == "a\n\nb\n\n## c\nd\n"


@pytest.mark.slow
def test_the_whole_page_is_made_at_a_small_size(tmp_path: Path) -> None:
    shares: list[float] = []
    path = tmp_path / "new" / "page.md"
    write_report(
        path, num_seeds=1, duration_s=10.0, rates=(10, 30),
        progress=lambda _, share: shares.append(share),
    )  # fmt: skip
    page = path.read_text(encoding="utf-8")
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for heading in ("## Beside the paper", "## Ablations", "## A burst of pictures",
                    "## Stationary load", "## Why the ratios differ"):  # fmt: skip
        assert page.count(heading) == 1
    assert "This is a simulation" in page
    assert "nan" not in page.replace("tenant", "")
