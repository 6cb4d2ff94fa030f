"""The page of results."""

from collections.abc import Sequence

from benchmarks.servers import ENVIRONMENT
from saccade.loadtest.modes.compare import CompareResult
from saccade.loadtest.modes.comparison import Row
from saccade.loadtest.statistics import Interval

QUANTITIES = (
    "p50.ttft", "p90.ttft", "p99.ttft", "p50.tpot", "p90.tpot",
    "request_throughput", "output_throughput", "goodput", "attainment",
)  # fmt: skip

HEAD = """# Saccade and stock vLLM on a CPU

Made by `{command}`. {machine}

Both servers run on the same cores with the same checkpoint, and get the same requests at the same
times, in turns: {pairs} slices of {duration:g} s each, vLLM, Saccade, vLLM, Saccade, … Warm-up and
cool-down ({edge:g} s each) are not measured. Latencies are those of all slices together;
throughput, goodput and attainment are means over slices. A ratio is Saccade / vLLM, the geometric
mean over pairs of slices with its 95 % interval; where the interval contains 1, no difference is
shown, whatever the means are.

- SLO: `{slo}`, {multiple:g} times the median of stock vLLM under light load.
- Stock vLLM sustains {picture_rate:.2f} pictures/s ({low} to {high}): what it served to 16 users
  who always had a picture waiting.
- While one server is measured, the other does nothing; that costs vLLM {idle_vllm:.1%} and Saccade
  {idle_saccade:.1%} of a core.
- Environment of both: {environment}.
- vLLM: `{vllm}`
- Saccade: `{saccade}`
"""


def section(name: str, what: str, result: CompareResult) -> str:
    """A case with its table."""
    failed = {
        side: sum(s.summary.all.num_failed for s in result.slices if s.side == side)
        for side in ("A", "B")
    }
    lines = [
        f"## {name}",
        "",
        what,
        "",
        "| | | vLLM | Saccade | Saccade / vLLM | Saccade is |",
        "|---|---|---|---|---|---|",
        *(_line(row) for row in result.rows if _shown(row, result)),
        f"| all | failed requests | {failed['A']} | {failed['B']} | | |",
    ]
    return "\n".join([*lines, "", *(f"> {warning}" for warning in result.warnings)]) + "\n"


def page(head: str, sections: Sequence[str]) -> str:
    """The whole page."""
    return "\n".join([head, *sections])


def environment() -> str:
    """What both sides were started with."""
    return ", ".join(f"`{name}={value}`" for name, value in ENVIRONMENT.items())


def _shown(row: Row, result: CompareResult) -> bool:
    """Latencies by modality; rates of all, and by modality where there are several."""
    groups = {one.group for one in result.rows}
    if row.quantity not in QUANTITIES:
        return False
    return row.group != "all" or ("." not in row.quantity and len(groups) > 2)


def _line(row: Row) -> str:
    scale, digits = (1000, 0) if row.unit == "s" else (1, 2)
    unit = "ms" if row.unit == "s" else row.unit
    a, b = (_value(interval, scale, digits) for interval in (row.a, row.b))
    title = f"{row.title}, {unit}" if unit else row.title
    return f"| {row.group} | {title} | {a} | {b} | {_ratio(row)} | {row.verdict} |"


def _value(interval: Interval | None, scale: float, digits: int) -> str:
    if interval is None:
        return "–"
    value, low, high = (
        "…" if v is None else f"{scale * v:.{digits}f}"
        for v in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({low} to {high})"


def _ratio(row: Row) -> str:
    ratio = row.ratio
    if ratio is None:
        return "–"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f}"
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
