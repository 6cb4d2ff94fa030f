"""A page that stands alone: tables and plots, nothing fetched."""

import math
from collections.abc import Sequence
from html import escape

from saccade.scheduler.simulator.output import plots
from saccade.scheduler.simulator.output.rows import Table, tables
from saccade.scheduler.simulator.scenario import SIMULATED, Outcome, Scenario

_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 2em auto; padding: 0 1em;
       color: #222; background: #fff; }
.note { background: #fff4d6; border-left: 4px solid #e69f00; padding: .5em 1em; }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0; display: block;
        overflow-x: auto; }
th, td { padding: .25em .6em; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
svg { max-width: 100%; height: auto; }
"""
_MOST_TIMELINES = 4


def as_html(outcomes: Sequence[Outcome], scenarios: Sequence[Scenario]) -> str:
    """The whole page."""
    scenario = scenarios[0]
    parts = [
        f"<h1>Simulation: {escape(scenario.workload.title)} on {scenario.num_instances} x "
        f"{escape(scenario.gpu.upper())}</h1>",
        f'<p class="note">{SIMULATED}</p>',
        f"<p>Model {escape(scenario.model)}; {_slo_text(scenario)}; "
        f"{len({one.seed for one in outcomes})} seeds, ± is half a 95 % interval over them.</p>",
    ]
    if len({one.rate for one in outcomes}) > 1:
        parts += ["<h2>Latency against rate</h2>", plots.latency_against_rate(outcomes)]
    top = max(one.rate for one in outcomes)
    shown = [one for one in outcomes if one.rate == top and one.seed == outcomes[0].seed]
    for modality in ("text", "image"):
        if any(one.ttft_p99_over_time.get(modality) for one in shown):
            parts += [f"<h2>TTFT over time: {modality}, {top:g} requests/s</h2>",
                      plots.ttft_over_time(shown, modality)]  # fmt: skip
    for outcome in [one for one in shown if _moves(one)][:_MOST_TIMELINES]:
        parts += [f"<h2>{escape(outcome.policy)}: roles over time, {top:g} requests/s</h2>",
                  plots.roles_over_time(outcome)]  # fmt: skip
        if outcome.burst_tolerance:
            parts += ["<h3>Burst tolerance</h3>", plots.burst_tolerance_over_time(outcome)]
    parts += [_html_table(table) for table in tables(outcomes)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Simulation: {escape(scenario.workload.title)}</title><style>{_CSS}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _moves(outcome: Outcome) -> bool:
    return len(outcome.timeline) > outcome.num_instances


def _slo_text(scenario: Scenario) -> str:
    slos = ", ".join(
        f"{modality} TTFT {slo.ttft_s * 1e3:.0f} ms"
        + (f" and TPOT {slo.tpot_s * 1e3:.0f} ms" if math.isfinite(slo.tpot_s) else "")
        for modality, slo in scenario.slos
    )
    return f"SLO x1 is ten times the latency under light load: {slos}"


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return f"<h2>{escape(table.title)}</h2><table><tr>{head}</tr>{rows}</table>"
