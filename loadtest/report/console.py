"""What a terminal shows at the end."""

from collections.abc import Sequence

import rich.box
import rich.table
from rich.console import Console
from rich.text import Text

from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.modes.compare import CompareResult
from saccade.loadtest.modes.search import SENTENCES, SearchResult
from saccade.loadtest.modes.sweep import SweepResult
from saccade.loadtest.report import tables
from saccade.loadtest.report.tables import Cell, Table, is_number, repeats

CONSOLE_LATENCIES = ("ttft", "itl", "tpot", "e2e")
"""The page has them all."""

_STYLES = {"": "", "good": "green", "bad": "red", "muted": "dim"}


def print_run(summary: Summary, console: Console) -> None:
    """Tables of one run."""
    _head(console, summary.label, f"{summary.model} at {summary.url}")
    _line(console, f"{summary.workload}; {summary.arrivals}; {summary.window_s:.4g} s measured")
    found = (
        tables.latency_table(summary, CONSOLE_LATENCIES),
        tables.throughput_table(summary),
        tables.slo_table(summary),
        tables.accuracy_table(summary),
        tables.stage_table(summary),
        tables.error_table(summary),
    )
    for table in found:
        if table is not None and table.rows:
            _print(table, console)
    _warn(console, summary.warnings)


def print_sweep(result: SweepResult, console: Console) -> None:
    """A row for each point."""
    _head(console, f"Sweep of the {result.axis}", result.plan)
    values = [f"{point.value:g}" for point in result.points]
    summaries = [point.summary for point in result.points]
    _print(tables.set_table(summaries, result.axis, values), console)
    if result.missing:
        missing = ", ".join(f"{value:g}" for value in result.missing)
        _warn(console, [f"Not measured: {missing}. Run the same command to go on."])


def print_search(result: SearchResult, console: Console) -> None:
    """The rate that was found, why the search ended, and each probe."""
    _head(console, "Search", result.plan)
    _print(tables.probe_table(result), console)
    console.print(Text(search_answer(result), style="bold"))
    if result.stop_reason is not None:
        _line(console, SENTENCES[result.stop_reason])
    _warn(console, result.warnings)


def print_compare(result: CompareResult, console: Console) -> None:
    """Each number of both, and the ratio with its interval."""
    _head(console, f"{result.a.label} (A) and {result.b.label} (B)", result.plan)
    _print(tables.ratio_table(result), console)
    _warn(console, result.warnings)


def search_answer(result: SearchResult) -> str:
    """The result in a sentence."""
    wanted = f"{result.settings.share:.4g} of requests hold {result.slo}"
    if result.best_rate is None or result.best_attainment is None:
        return f"No rate was found at which {wanted}."
    found = result.best_attainment
    bounds = "" if found.low is None else f", {found.low:.3f} to {found.high:.3f}"
    answer = (
        f"{result.best_rate:.4g} requests/s is the highest rate found at which {wanted} "
        f"(attainment {found.value:.3f}{bounds})"
    )
    if result.failing_rate is not None:
        answer += f"; {result.failing_rate:.4g} fails"
    return f"{answer}."


def _head(console: Console, title: str, rest: str) -> None:
    console.print()
    console.print(Text.assemble((title, "bold"), "  ", (rest, "dim")), soft_wrap=True)


def _line(console: Console, text: str) -> None:
    console.print(Text(text, style="dim"), soft_wrap=True)


def _warn(console: Console, warnings: Sequence[str]) -> None:
    for warning in warnings:
        console.print(Text(f"! {warning}", style="yellow"), soft_wrap=True)


def _print(table: Table, console: Console) -> None:
    shown = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(table.headings):
        is_text = index == 0 or all(not is_number(row[index].text) for row in table.rows)
        shown.add_column(Text(heading), justify="left" if is_text else "right", overflow="fold")
    for index, row in enumerate(table.rows):
        first = Cell("") if repeats(table, index) else row[0]
        shown.add_row(*(_text(cell) for cell in (first, *row[1:])))
    console.print()
    console.print(Text(table.title, style="bold"), soft_wrap=True)
    console.print(shown)
    if table.note:
        _line(console, table.note)


def _text(cell: Cell) -> Text:
    text = Text(cell.text, style=_STYLES[cell.tone])
    if cell.detail:
        text.append(f"\n{cell.detail}", style="dim")
    return text
