"""An evaluation as a table, as JSON and as a plot."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from saccade.training.evaluation.scores import Accuracy, Line, Verdict


def as_table(lines: Sequence[Line], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("questions about")
    for heading in ("asked", "accuracy", "95 % interval", "blind"):
        table.add_column(heading, justify="right")
    for line in lines:
        if line.name in ("all stills", "all clips"):
            table.add_section()
        low, high = line.accuracy.interval
        table.add_row(
            line.name,
            str(line.accuracy.asked),
            _percent(line.accuracy.ratio),
            f"{_percent(low)} to {_percent(high)}",
            "" if line.blind is None else _percent(line.blind.ratio),
        )
    return table


def as_json(lines: Sequence[Line], verdicts: Sequence[Verdict], about: dict[str, Any]) -> str:
    """`about` says what was evaluated, and how."""
    report = {
        **about,
        "lines": [
            {
                "name": line.name,
                **_numbers(line.accuracy),
                "blind": None if line.blind is None else _numbers(line.blind),
            }
            for line in lines
        ],
        "answers": [{**asdict(v), "right": v.right} for v in verdicts],
    }
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def draw(lines: Sequence[Line], title: str, path: Path) -> None:
    """Bars with their intervals; what a blind model gets as a mark on each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.42 * len(lines) + 1.4), layout="constrained")
    axis = figure.subplots()
    places = range(len(lines))
    ratios = [line.accuracy.ratio for line in lines]
    spans = [line.accuracy.interval for line in lines]
    below = [max(0.0, r - low) for r, (low, _) in zip(ratios, spans, strict=True)]
    above = [max(0.0, high - r) for r, (_, high) in zip(ratios, spans, strict=True)]
    colours = ["#4878a8" if not line.name.startswith(("all", "…")) else "#8aa9c8" for line in lines]
    axis.barh(places, ratios, color=colours, xerr=[below, above], ecolor="#222222", capsize=3)
    blind = [(i, line.blind.ratio) for i, line in enumerate(lines) if line.blind is not None]
    if blind:
        axis.plot(
            [ratio for _, ratio in blind], [i for i, _ in blind],
            linestyle="", marker="D", color="#d1682c", label="blind (grey picture)",
        )  # fmt: skip
        axis.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    axis.set_yticks(places, [f"{line.name} ({line.accuracy.asked})" for line in lines])
    axis.set(xlim=(0, 1), xlabel="answered exactly, with 95 % interval")
    axis.set_title(title, loc="left")
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    figure.savefig(path, dpi=110)


def _numbers(accuracy: Accuracy) -> dict[str, Any]:
    low, high = accuracy.interval
    return {
        "right": accuracy.right,
        "asked": accuracy.asked,
        "accuracy": round(accuracy.ratio, 4) if accuracy.asked else None,
        "interval": [round(low, 4), round(high, 4)],
    }


def _percent(ratio: float) -> str:
    return "-" if math.isnan(ratio) else f"{100 * ratio:.1f} %"
