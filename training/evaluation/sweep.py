"""Accuracy against visual tokens kept, for several pruning methods, as a table, JSON and a plot."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.table import Table

from saccade.encoders.pruning.flops import Decoder, prefill_flops
from saccade.training.evaluation.scores import Accuracy

BASELINES = ("random", "uniform")


@dataclass(frozen=True, slots=True)
class Point:
    """One method at one budget; the unpruned model has the method `none`."""

    method: str
    keep_ratio: float
    tokens: float
    """Visual tokens a question, on average."""
    accuracy: Accuracy

    @property
    def percent(self) -> float:
        return 100 * self.accuracy.ratio


def as_table(points: Sequence[Point], decoder: Decoder, title: str) -> Table:
    """A row for each method and budget, in order, beside the unpruned model."""
    whole = _unpruned(points)
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    for heading in ("kept", "tokens", "accuracy", "95 % interval", "of unpruned", "prefill FLOPs"):
        table.add_column(heading, justify="right")
    method = ""
    for point in points:
        if method and point.method != method:
            table.add_section()
        method = point.method
        table.add_row(*_cells(point, whole, decoder))
    return table


def as_page(
    points: Sequence[Point], decoder: Decoder, about: Mapping[str, Any], plot: str | None
) -> str:
    """The same as a page of Markdown, which shows `plot` and says what was evaluated."""
    facts = [f"- {name.replace('_', ' ')}: {value}" for name, value in about.items()]
    parts = [
        "# Accuracy against visual tokens kept",
        f"Made by `saccade eval` on {date.today()}, by a CPU: stock transformers behind Saccade's "
        "encoder and pruning stages. An answer counts if it is right to the letter; intervals are "
        "Wilson's. FLOPs are those of prefill for the visual tokens alone, with three matrices in "
        "a feed-forward layer (`encoders/pruning/flops.py`).",
        "\n".join(facts),
        *([] if plot is None else [f"![Accuracy over the share of tokens kept]({plot})"]),
        as_markdown(points, decoder),
    ]
    return "\n\n".join(parts)


def as_markdown(points: Sequence[Point], decoder: Decoder) -> str:
    """The table alone."""
    whole = _unpruned(points)
    lines = [
        "| method | kept | tokens | accuracy | 95 % interval | of unpruned | prefill FLOPs |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *("| " + " | ".join(_cells(point, whole, decoder)) + " |" for point in points),
    ]
    return "\n".join(lines) + "\n"


def as_json(points: Sequence[Point], about: dict[str, Any]) -> str:
    """`about` says what was evaluated, and how."""
    rows = [
        {
            "method": point.method,
            "keep_ratio": point.keep_ratio,
            "tokens": round(point.tokens, 2),
            "right": point.accuracy.right,
            "asked": point.accuracy.asked,
            "interval": [round(end, 4) for end in point.accuracy.interval],
        }
        for point in points
    ]
    return json.dumps({**about, "points": rows}, indent=1) + "\n"


def draw(points: Sequence[Point], title: str, path: Path) -> None:
    """A curve for each method over the share of tokens, with intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axis = figure.subplots()
    whole = _unpruned(points)
    if whole is not None:
        low, high = (100 * end for end in whole.accuracy.interval)
        axis.axhspan(low, high, color="#cccccc", alpha=0.5, linewidth=0)
        axis.axhline(whole.percent, color="#555555", linestyle="--", label="all tokens")
    for index, method in enumerate(_methods(points)):
        some = sorted((p for p in points if p.method == method), key=lambda p: p.keep_ratio)
        spans = [p.accuracy.interval for p in some]
        axis.errorbar(
            [100 * p.keep_ratio for p in some],
            [p.percent for p in some],
            yerr=[
                [max(p.percent - 100 * low, 0) for p, (low, _) in zip(some, spans, strict=True)],
                [max(100 * high - p.percent, 0) for p, (_, high) in zip(some, spans, strict=True)],
            ],
            label=method,
            marker="os^Dv<>P"[index % 8],
            linestyle=":" if method in BASELINES else "-",
            linewidth=1.4,
            elinewidth=0.7,
            capsize=2,
        )
    axis.set_xscale("log")
    ticks = sorted({100 * p.keep_ratio for p in points})
    axis.set_xticks(ticks, [f"{tick:g} %" for tick in ticks])
    axis.minorticks_off()
    axis.set(xlabel="visual tokens kept", ylabel="answered exactly, %")
    axis.set_title(title, loc="left")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, ncols=2)
    figure.savefig(path, dpi=110)


def _cells(point: Point, whole: Point | None, decoder: Decoder) -> list[str]:
    low, high = point.accuracy.interval
    share = "" if whole is None else f"{100 * point.accuracy.ratio / whole.accuracy.ratio:.1f} %"
    flops = prefill_flops(round(point.tokens), decoder, ffn_matrices=3)
    return [
        point.method,
        f"{100 * point.keep_ratio:g} %",
        f"{point.tokens:.1f}",
        f"{point.percent:.1f} %",
        f"{100 * low:.1f} to {100 * high:.1f}",
        share,
        f"{flops / 1e6:.0f} M",
    ]


def _unpruned(points: Iterable[Point]) -> Point | None:
    found = [point for point in points if point.method == "none" and point.accuracy.right]
    return found[0] if found else None


def _methods(points: Iterable[Point]) -> list[str]:
    return [one for one in dict.fromkeys(point.method for point in points) if one != "none"]
