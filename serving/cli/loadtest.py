"""`saccade loadtest`: does a server hold its SLO, and at what rate?"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saccade.loadtest.metrics.definitions import METRICS, RUN_DEFINITIONS
from saccade.serving.cli.loadtest_options import PlanOptions, with_plan_options
from saccade.serving.cli.loadtest_show import (
    console,
    in_plain_words,
    make_folder,
    show_compare,
    show_run,
    show_search,
    show_sweep,
    write,
)
from saccade.serving.cli.options import fail

if TYPE_CHECKING:
    from saccade.loadtest.fail_on import Condition
    from saccade.loadtest.metrics.schema import Summary
    from saccade.loadtest.modes.compare import Side
    from saccade.loadtest.plan import Run

EXIT_MISSED = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Measure any OpenAI-compatible server: does it hold the SLO, and at what rate?",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for all requests, the summary, and report.html."),
]
Kept = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder for everything. The same command again goes on from what is there.",
    ),
]
Png = Annotated[bool, typer.Option("--png", help="Write the plots as PNG files too.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
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
    """Of all metrics, for --help."""
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
    holds. Ctrl-C reports what ran so far, and exits with 130.

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
    with in_plain_words(code=2):
        conditions = _conditions(fail_on)
    with in_plain_words():
        from saccade.loadtest.folder import write_run_folder
        from saccade.loadtest.metrics.summary import summarise

        make_folder(output)
        record = _runner()(plan)
        summary = summarise(record, plan.slo)
        if output is not None:
            write_run_folder(output, plan, record, summary)
            write(output, png)
        show_run(summary, as_json)
    _exit([summary], conditions, interrupted=summary.interrupted)


@app.command()
@with_plan_options
def sweep(
    options: PlanOptions,
    rates: Annotated[
        str | None,
        typer.Option(help="Rates: 1,2,4, or 1:16:x2 (doubling), or 1:3:0.5 (in steps)."),
    ] = None,
    concurrencies: Annotated[
        str | None, typer.Option(help="Users of a closed loop, likewise.")
    ] = None,
    fail_on: FailOn = None,
    output: Kept = None,
    png: Png = False,
    as_json: Json = False,
) -> None:
    """Run the same workload at several rates, or with several numbers of users.

    \b
    Examples:
      saccade loadtest sweep -w single-picture --rates 1:16:x2 --duration 60 \\
          --slo ttft=500ms -o sweep
      saccade loadtest sweep -w text --concurrencies 1,2,4,8 --duration 30
    """
    if (rates is None) == (concurrencies is None):
        fail("give either --rates or --concurrencies", 2)
    with in_plain_words(code=2):
        from saccade.loadtest.modes.sweep import Axis, parse_values, sweep

        values = parse_values(rates or concurrencies or "")
        conditions = _conditions(fail_on)
    plan = options.with_some_rate(values[0]).plan()
    with in_plain_words():
        make_folder(output, "sweep.json")
        axis: Axis = "rate" if rates is not None else "concurrency"
        result, _ = sweep(plan, axis, values, _runner(), folder=output, announce=_announce)
        if output is not None:
            write(output, png)
        show_sweep(result, as_json)
    _exit([point.summary for point in result.points], conditions, interrupted=result.interrupted)


@app.command()
@with_plan_options
def search(
    options: PlanOptions,
    share: Annotated[
        float, typer.Option(help="Share of the requests sent that must hold the SLO.")
    ] = 0.9,
    start: Annotated[float, typer.Option(help="First rate to try.")] = 1.0,
    min_rate: Annotated[float, typer.Option(help="Lowest rate to try.")] = 0.1,
    max_rate: Annotated[float, typer.Option(help="Highest rate to try.")] = 1000.0,
    tolerance: Annotated[
        float, typer.Option(help="Stop when the limit is known to this share of itself.")
    ] = 0.05,
    max_probes: Annotated[int, typer.Option(help="Stop after so many runs.")] = 20,
    output: Kept = None,
    png: Png = False,
    as_json: Json = False,
) -> None:
    """Find the highest rate at which a share of the requests holds the SLO.

    \b
    Example:
      saccade loadtest search -w single-picture --slo ttft=500ms,tpot=50ms --share 0.95 \\
          --duration 60 -o search
    """
    if options.slo is None:
        fail("a search needs --slo, for example --slo ttft=500ms,tpot=50ms", 2)
    with in_plain_words(code=2):
        from saccade.loadtest.modes.bisection import SearchSettings, StopReason
        from saccade.loadtest.modes.search import search

        settings = SearchSettings(
            share=share,
            start_rate=start,
            min_rate=min_rate,
            max_rate=max_rate,
            tolerance=tolerance,
            max_probes=max_probes,
        )
    plan = options.with_some_rate(start).plan()
    with in_plain_words():
        make_folder(output, "search.json")
        result, _ = search(plan, settings, _runner(), folder=output, announce=_announce)
        if output is not None:
            write(output, png)
        show_search(result, as_json)
    if result.stop_reason is StopReason.INTERRUPTED:
        raise typer.Exit(EXIT_INTERRUPTED)


@app.command()
@partial(with_plan_options, without=("url", "model"))
def compare(
    options: PlanOptions,
    a: Annotated[str, typer.Argument(metavar="A", help="Base URL, or NAME=URL.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Base URL, or NAME=URL.")],
    model_a: Annotated[str | None, typer.Option(help="Model of A; its first if not given.")] = None,
    model_b: Annotated[str | None, typer.Option(help="Model of B; its first if not given.")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="How often each of both is measured.")] = 6,
    output: Kept = None,
    png: Png = False,
    as_json: Json = False,
) -> None:
    """Measure two servers in turns, with the same requests, and give the ratios B / A.

    Turns cancel what drifts on the machine. The duration is that of one turn.

    \b
    Example:
      saccade loadtest compare vllm=http://127.0.0.1:8001 saccade=http://127.0.0.1:8000 \\
          -w mixed --rate 4 --duration 30 --pairs 6 -o comparison
    """
    plan = options.plan()
    with in_plain_words():
        from saccade.loadtest.modes.compare import compare
        from saccade.loadtest.runner import check_target

        sides = (_side(a, "A", model_a), _side(b, "B", model_b))
        for side in sides:  # before A is measured and B turns out not to be there
            check_target(plan.with_target(side.url, side.label, side.model))
        make_folder(output, "compare.json")
        result, _ = compare(
            plan, sides, _runner(), num_pairs=pairs, folder=output, announce=_announce
        )
        if output is not None:
            write(output, png)
        show_compare(result, as_json)
    if result.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="An --output of run, sweep, search or compare.")],
    slo: Annotated[
        str | None, typer.Option(help="Judge by another SLO than the one of the run.")
    ] = None,
    png: Png = False,
) -> None:
    """Write the HTML report of a folder again, and say where it is."""
    with in_plain_words():
        from saccade.loadtest.slo import parse_slo

        write(folder, png, parse_slo(slo) if slo else None)


@app.command()
def workloads() -> None:
    """List the workloads that have a name, and what each sends."""
    with in_plain_words():
        from saccade.loadtest.workloads.presets import PRESETS

        width = max(map(len, PRESETS))
        for name, preset in PRESETS.items():
            typer.echo(f"{name:<{width}}  {preset.what}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a run's summary.json, with what each field means."""
    import json

    from saccade.loadtest.metrics.schema import Summary

    typer.echo(json.dumps(Summary.model_json_schema(), indent=2))


@app.command()
def selftest(
    rate: Annotated[float, typer.Option(help="Streams per second.", min=1)] = 200.0,
    chunks: Annotated[int, typer.Option(help="Chunks of each stream.", min=1)] = 20,
    duration: Annotated[float, typer.Option(help="Seconds.", min=1)] = 10.0,
    processes: Annotated[int, typer.Option(help="Processes that send.", min=1)] = 1,
    bound: Annotated[str, typer.Option(help="Error at p99 that is allowed.")] = "5ms",
) -> None:
    """Measure the client's own error on this machine, against a server without a model.

    The server notes when it wrote each chunk. Exits with 3 if at p99 sends are later than planned,
    or chunks are seen later than they were written, by more than the bound.
    """
    with in_plain_words():
        from saccade.loadtest.selftest import run_selftest
        from saccade.loadtest.slo import parse_duration

        bound_s = parse_duration(bound)
        result = run_selftest(rate, chunks, duration, processes)
    typer.echo(result.describe(bound_s))
    if not result.holds(bound_s):
        raise typer.Exit(EXIT_MISSED)


def _runner() -> "Run":
    from saccade.loadtest import runner
    from saccade.loadtest.live import LiveProgress

    return partial(runner.run, progress=LiveProgress(console(stderr=True)))


def _announce(text: str) -> None:
    typer.echo(text, err=True)


def _side(text: str, default: str, model: str | None) -> "Side":
    from saccade.loadtest.modes.compare import Side

    name, equals, url = text.partition("=")
    if not equals or "://" in name:
        name, url = default, text
    return Side(label=name, url=url, model=model)


def _conditions(texts: Sequence[str] | None) -> "list[Condition]":
    from saccade.loadtest.fail_on import parse_condition

    return [parse_condition(text) for text in texts or ()]


def _exit(
    summaries: "Sequence[Summary]", conditions: "Sequence[Condition]", *, interrupted: bool
) -> None:
    from saccade.loadtest.fail_on import failures

    found = [sentence for summary in summaries for sentence in failures(summary, conditions)]
    for sentence in found:
        print(f"saccade: {sentence}", file=sys.stderr)
    if found:
        raise typer.Exit(EXIT_MISSED)
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
