"""`saccade loadtest`: does a server hold its SLO, and at what rate?"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saccade.loadtest.metrics.definitions import METRICS, RUN_DEFINITIONS
from saccade.serving.cli.loadtest_options import PlanOptions, with_plan_options
from saccade.serving.cli.options import fail

if TYPE_CHECKING:
    from rich.console import Console

    from saccade.loadtest.fail_on import Condition
    from saccade.loadtest.metrics.schema import Summary
    from saccade.loadtest.plan import Plan, Run
    from saccade.loadtest.records import RunRecord

EXIT_MISSED = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Measure any OpenAI-compatible server: does it hold the SLO, and at what rate?",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Folder for requests.jsonl, summary.json, report.html and plots."
    ),
]
Png = Annotated[bool, typer.Option("--png", help="Plots as PNG files too.")]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the summary as JSON instead of tables."),
]
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        metavar="CONDITION",
        help="Exit with 3 if it holds, for example 'p90.ttft>500ms' or 'attainment<0.99'. "
        "May be repeated.",
    ),
]


def _definitions() -> str:
    """Of all metrics, for --help; every block keeps its lines."""
    texts = [(f"{m.title} (p99.{m.key} in --fail-on)", m.definition) for m in METRICS.values()]
    texts += list(RUN_DEFINITIONS.items())
    return "\n\n".join(["Metrics:", *(f"{name}: {text}" for name, text in texts)])


@app.command(epilog=_definitions())
@with_plan_options
def run(
    options: PlanOptions,
    fail_on: FailOn = None,
    output: Output = None,
    png: Png = False,
    as_json: Json = False,
) -> None:
    """Send one workload and report what happened.

    Exits with 0; 1 if it could not be carried out; 2 for wrong options; 3 if a --fail-on condition
    holds. Ctrl-C reports what ran so far.

    \b
    Examples:
      saccade loadtest run --workload single-picture --rate 5 --duration 60 \\
          --slo ttft=500ms,tpot=50ms
      saccade loadtest run -w text=7,single-picture=3 --steps 2x30s,5x30s,10x30s -o results
      saccade loadtest run -w sharegpt4o-like --tokenizer CHECKPOINT -c 8 -n 200
      saccade loadtest run -w mooncake:trace.jsonl --speed 2 --duration 5min
      saccade loadtest run -w requests.jsonl --rate 2 --duration 60 --fail-on 'p90.ttft>500ms'
    """
    plan = options.plan()
    conditions = _conditions(fail_on)
    record = _carried_out(plan, _runner())
    summary = _summary(record, plan)
    if output is not None:
        _write_run(output, plan, record, summary, png)
    _print_run(summary, output, as_json)
    _exit(summary, conditions)


def _runner() -> "Run":
    from saccade.loadtest import runner
    from saccade.loadtest.live import LiveProgress

    return partial(runner.run, progress=LiveProgress(_console(stderr=True)))


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def _carried_out(plan: "Plan", run: "Run") -> "RunRecord":
    from saccade.loadtest.errors import LoadTestError

    try:
        return run(plan)
    except LoadTestError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _summary(record: "RunRecord", plan: "Plan") -> "Summary":
    from saccade.loadtest.metrics.summary import summarise

    return summarise(record, plan.slo)


def _write_run(
    folder: Path, plan: "Plan", record: "RunRecord", summary: "Summary", png: bool
) -> None:
    from saccade.loadtest.folder import write_run_folder

    try:
        write_run_folder(folder, plan, record, summary, png=png)
    except OSError as error:
        fail(f"--output {folder}: {error.strerror}")


def _print_run(summary: "Summary", folder: Path | None, as_json: bool) -> None:
    if as_json:
        typer.echo(summary.model_dump_json(indent=2))
        return
    from saccade.loadtest.report.console import run_report

    run_report(summary, _console())
    if folder is not None:
        typer.echo(f"\nReport: {folder / 'report.html'}")


def _conditions(texts: Sequence[str] | None) -> "list[Condition]":
    from saccade.loadtest.errors import LoadTestError
    from saccade.loadtest.fail_on import parse_condition

    try:
        return [parse_condition(text) for text in texts or ()]
    except LoadTestError as error:
        fail(str(error), 2)


def _exit(summary: "Summary", conditions: "Sequence[Condition]") -> None:
    from saccade.loadtest.fail_on import failures

    found = failures(summary, conditions)
    for sentence in found:
        print(f"saccade: {sentence}", file=sys.stderr)
    if found:
        raise typer.Exit(EXIT_MISSED)
    if summary.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
