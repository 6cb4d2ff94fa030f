"""docs/results/simulation.md: what the simulator shows, beside what the paper says.

Every number in the page is computed here; the prose around them explains and does not quote.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from saccade.scheduler.policy import Policy
from saccade.scheduler.simulator.output import paper_tables as tables
from saccade.scheduler.simulator.output import prose
from saccade.scheduler.simulator.output.experiments import (
    ELASTIC,
    FULL_DURATION_S,
    Experiments,
    Size,
)
from saccade.scheduler.simulator.output.rows import Table, markdown
from saccade.scheduler.simulator.policies import SWITCHED_NAMES, titles
from saccade.scheduler.simulator.runs import Progress
from saccade.scheduler.simulator.scenario import SIMULATED, Scenario, WorkloadSpec
from saccade.scheduler.simulator.sweep import LEAST_ATTAINMENT, Sweep, best

OLD, TODAY = "coupled-vllm-0.6.6", "coupled-vllm-today"
STATIC = ("static-text-first", "static-equal", "static-multimodal-first")
RIVALS = ("modserve", "epdserve", "shortest-first")
OF_THE_PAPER = ("elasticmm-no-cache", "elasticmm-blocking-encode", "elasticmm-no-elasticity")
IN_BURSTS = (ELASTIC, "elasticmm-hard-groups", "elasticmm-fully-shared", TODAY, OLD)
PAPER = {"sharegpt4o": ("4.2", "4.5"), "visualwebinstruct": ("3.7", "~3.5")}
PAPER_STATIC = "1.8"
_PICTURE_TOKENS = 1369
_OBSERVED_ENCODE_SHARE = 5

Sweeps = dict[str, Sweep]


class _Report:
    """Runs the experiments and lays out the page."""

    def __init__(self, experiments: Experiments) -> None:
        self._lab = experiments
        self._size = experiments.size

    def page(self) -> str:
        size = self._size
        main = {name: self._main(name) for name in PAPER}
        varying = self._lab.sweep(
            self._lab.base("antiphase"), (ELASTIC, *STATIC, TODAY), size.few_rates
        )
        switched = (ELASTIC, *SWITCHED_NAMES)
        effects = self._lab.bursts(tuple(dict.fromkeys((*IN_BURSTS, *switched))))
        elastic = {name: sweeps[ELASTIC] for name, sweeps in main.items()}
        bound = Policy().stability.max_flips_per_instance_hour * Scenario.num_instances
        sections = [
            prose.HEAD.format(note=SIMULATED, command=size.command, seeds=size.num_seeds,
                              duration=size.duration_s, least=f"{LEAST_ATTAINMENT:.0%}"),
            self._reduced(),
            "## Beside the paper\n", markdown(_against_paper(main, varying)), prose.PAPER,
            "## Load that changes: text and pictures half a day apart\n", prose.ANTIPHASE,
            markdown(tables.capacities(varying)),
            *(part for name, sweeps in main.items() for part in _workload(name, sweeps)),
            "## Ablations\n", prose.ABLATIONS, markdown(self._parts(main["sharegpt4o"])),
            prose.SWITCHES.format(rate=size.busy_rate),
            markdown(tables.switches(
                self._lab.sweep(self._lab.base("sharegpt4o"), switched, (size.busy_rate,)),
                effects, size.busy_rate, titles())),
            prose.SWITCHES_AFTER,
            "## A burst of pictures\n", prose.BURST.format(rate=size.burst_rate),
            markdown(tables.bursts(effects[name] for name in IN_BURSTS)), prose.BURST_AFTER,
            "## Stationary load\n", prose.STATIONARY,
            markdown(tables.flips_by_rate(elastic, bound)),
            "## Why the ratios differ from the paper's\n", prose.CAUSES,
            markdown(self._causes(main["sharegpt4o"])), _causes_after(),
        ]  # fmt: skip
        return tidy("\n".join(sections))

    def _reduced(self) -> str:
        duration_s = self._size.duration_s
        if duration_s >= FULL_DURATION_S:
            return ""
        return prose.REDUCED.format(full=FULL_DURATION_S, duration=duration_s)

    def _main(self, workload: str) -> Sweeps:
        policies = (ELASTIC, OLD, TODAY, *STATIC, *RIVALS)
        return self._lab.sweep(self._lab.base(workload), policies, self._size.rates)

    def _parts(self, full: Sweeps) -> Table:
        few = self._size.few_rates
        sweeps = {ELASTIC: tables.subset(full[ELASTIC], few)}
        sweeps |= self._lab.sweep(self._lab.base("sharegpt4o"), OF_THE_PAPER, few)
        return tables.parts_of_the_paper(sweeps, self._size.busy_rate, titles())

    def _causes(self, full: Sweeps) -> Table:
        """The ratios against vLLM 0.6.6 when one assumption is changed."""
        few = self._size.few_rates
        plain = self._lab.base("sharegpt4o")
        pair = (ELASTIC, OLD)
        known = {name: tables.subset(full[name], few) for name in pair}
        slower = slower_encoder()
        cases: list[tuple[str, Sweeps]] = [
            ("as measured", known),
            ("baseline behind a round-robin proxy", {
                ELASTIC: known[ELASTIC],
                OLD: self._lab.sweep(plain, (f"{OLD}-round-robin",), few)[f"{OLD}-round-robin"]}),
            ("every request has a picture",
             self._lab.sweep(self._lab.base("sharegpt4o", 1.0), pair, few)),
            ("one request in five has a picture",
             self._lab.sweep(self._lab.base("sharegpt4o", 0.2), pair, few)),
            (f"encoder {slower} times slower: five times prefill, as the paper observed",
             self._lab.sweep(replace(plain, encode_ratio=slower), pair, few)),
        ]  # fmt: skip
        rows = [
            (name, tables.best_ttft(sweeps[OLD], sweeps[ELASTIC]),
             tables.best_capacity(sweeps[OLD], sweeps[ELASTIC]))
            for name, sweeps in cases
        ]  # fmt: skip
        header = ("assumption", "TTFT against 0.6.6, at most", "throughput under SLO, at most")
        return Table("", header, rows)


def write_report(
    path: Path,
    *,
    num_seeds: int,
    duration_s: float,
    rates: Sequence[float] = (),
    jobs: int = 1,
    progress: Progress | None = None,
) -> None:
    """Run everything and write the page; the same arguments give the same bytes."""
    size = Size(num_seeds, duration_s)
    if rates:
        size = replace(size, rates=tuple(rates), few_rates=tuple(rates))
    path.parent.mkdir(parents=True, exist_ok=True)
    page = _Report(Experiments(size, jobs, progress)).page()
    path.write_text(page, encoding="utf-8")


def tidy(page: str) -> str:
    """One empty line before headings and between paragraphs."""
    page = re.sub(r"\n*\n(?=## )", "\n\n", page)
    return re.sub(r"\n{3,}", "\n\n", page).rstrip() + "\n"


def _against_paper(main: dict[str, Sweeps], varying: Sweeps) -> Table:
    rows = []
    for name, sweeps in main.items():
        ttft, throughput = PAPER[name]
        elastic, old, today = (sweeps[one] for one in (ELASTIC, OLD, TODAY))
        rows += [
            (f"{name}: TTFT against vLLM 0.6.6, at most",
             tables.best_ttft(old, elastic), f"{ttft}x"),
            (f"{name}: throughput under SLO against vLLM 0.6.6, at most",
             tables.best_capacity(old, elastic), f"{throughput}x"),
            (f"{name}: TTFT against vLLM of today, at most",
             tables.best_ttft(today, elastic), "–"),
            (f"{name}: throughput under SLO against vLLM of today, at most",
             tables.best_capacity(today, elastic), "–"),
            _against_static(name, sweeps),
        ]  # fmt: skip
    rows.append(_against_static("antiphase", varying))
    return Table("", ("ratio", "simulated", "paper"), rows)


def _against_static(name: str, sweeps: Sweeps) -> tuple[str, str, str]:
    static = best(sweeps, STATIC, 1)
    about = f"{name}: throughput under SLO against the best static split ({static.policy})"
    return about, tables.best_capacity(static, sweeps[ELASTIC]), f"{PAPER_STATIC}x"


def _workload(name: str, sweeps: Sweeps) -> list[str]:
    def tpot_ms(one: Sweep, rate: float) -> float:
        return one.mean(rate, "image", "tpot_s") * 1e3

    return [
        f"## {name}\n",
        "Carried requests per second by SLO scale:\n",
        markdown(tables.capacities(sweeps)),
        "\nMean TTFT over input tokens, ms per token, by rate:\n",
        markdown(tables.by_rate(sweeps, lambda one, rate: one.input_latency(rate) * 1e3, 2)),
        "\np99 TTFT of text, ms:\n",
        markdown(tables.by_rate(sweeps, tables.p99_ms("text"), 0)),
        "\np99 TTFT of requests with pictures, ms:\n",
        markdown(tables.by_rate(sweeps, tables.p99_ms("image"), 0)),
        "\nMean time between tokens, requests with pictures, ms:\n",
        markdown(tables.by_rate(sweeps, tpot_ms, 1)),
        "",
    ]


def _picture_s() -> tuple[float, float]:
    """Encode and prefill of the middle picture of sharegpt4o."""
    model = Scenario(ELASTIC, WorkloadSpec()).cost_model
    return model.encode_s(_PICTURE_TOKENS), model.prefill_s(_PICTURE_TOKENS)


def slower_encoder() -> int:
    """How many times slower an encoder takes five times the prefill."""
    encode_s, prefill_s = _picture_s()
    return round(_OBSERVED_ENCODE_SHARE * prefill_s / encode_s)


def _causes_after() -> str:
    encode_s, prefill_s = _picture_s()
    step_s = Scenario(ELASTIC, WorkloadSpec()).cost_model.prefill_s(0)
    return prose.CAUSES_AFTER.format(
        tokens=_PICTURE_TOKENS, encode_ms=encode_s * 1e3, prefill_ms=prefill_s * 1e3,
        encode_share=encode_s / prefill_s, step_ms=step_s * 1e3, step_share=step_s / prefill_s,
        least=LEAST_ATTAINMENT,
    )  # fmt: skip
