"""docs/results/simulation.md: what the simulator shows, beside what the paper says.

Every number in the page is computed here; the prose around them explains and does not quote.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from saccade.scheduler.simulator.burst import BurstEffect, burst_effect
from saccade.scheduler.simulator.output import prose
from saccade.scheduler.simulator.output.rows import Table, interval_text, markdown
from saccade.scheduler.simulator.policies import titles
from saccade.scheduler.simulator.runs import Interval, Progress
from saccade.scheduler.simulator.scenario import SIMULATED, SLO_SCALES, Scenario, WorkloadSpec
from saccade.scheduler.simulator.sweep import LEAST_ATTAINMENT, Sweep, best, sweep

ELASTIC, OLD, TODAY = "elasticmm", "coupled-vllm-0.6.6", "coupled-vllm-today"
STATIC = ("static-text-first", "static-equal", "static-multimodal-first")
RIVALS = ("modserve", "epdserve", "shortest-first")
ABLATIONS = (
    "elasticmm-no-cache", "elasticmm-blocking-encode", "elasticmm-no-elasticity",
    "elasticmm-fully-shared", "elasticmm-hard-groups", "elasticmm-literal",
    "elasticmm-no-horizon", "elasticmm-no-switch-back", "elasticmm-no-stability",
    "elasticmm-fixed-encoders",
)  # fmt: skip
PAPER = {"sharegpt4o": ("4.2", "4.5"), "visualwebinstruct": ("3.7", "~3.5")}
PAPER_STATIC = "1.8"
_PICTURE_TOKENS = 1369
_OBSERVED_ENCODE_SHARE = 5
_FULL_S = 300.0


@dataclass(frozen=True)
class Size:
    """How much is simulated."""

    num_seeds: int
    duration_s: float
    rates: tuple[float, ...] = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    few_rates: tuple[float, ...] = (20, 40, 60, 80)
    burst_rate: float = 30.0

    @property
    def command(self) -> str:
        rates = "".join(f" --rate {rate:g}" for rate in self.rates)
        return (
            f"saccade simulate --report docs/results/simulation.md --duration {self.duration_s:g} "
            f"--seeds {self.num_seeds}{'' if self.rates == Size.rates else rates}"
        )


class _Report:
    """Runs the experiments and lays out the page."""

    def __init__(self, size: Size, jobs: int, progress: Progress | None) -> None:
        self._size = size
        self._jobs = jobs
        self._progress = progress

    def page(self) -> str:
        main = {name: self._main(name) for name in PAPER}
        varying = self._sweep(self._base("antiphase"), (ELASTIC, *STATIC, TODAY), few=True)
        bursts = self._bursts()
        sections = [
            prose.HEAD.format(note=SIMULATED, command=self._size.command,
                              seeds=self._size.num_seeds, duration=self._size.duration_s,
                              least=f"{LEAST_ATTAINMENT:.0%}"),
            self._reduced(),
            "## Beside the paper\n", markdown(self._against_paper(main, varying)), prose.PAPER,
            "## Load that changes: text and pictures half a day apart\n", prose.ANTIPHASE,
            markdown(self._capacities(varying)),
            *(part for name, sweeps in main.items() for part in self._workload(name, sweeps)),
            "## Ablations\n", prose.ABLATIONS, markdown(self._ablations(main["sharegpt4o"])),
            "## A burst of pictures\n",
            prose.BURST.format(rate=self._size.burst_rate), markdown(_burst_table(bursts)),
            prose.BURST_AFTER,
            "## Stationary load\n", prose.STATIONARY, markdown(self._flips(main)),
            "## Why the ratios differ from the paper's\n", prose.CAUSES,
            markdown(self._causes(main["sharegpt4o"])), _causes_after(),
        ]  # fmt: skip
        return tidy("\n".join(sections))

    def _reduced(self) -> str:
        duration_s = self._size.duration_s
        if duration_s >= _FULL_S:
            return ""
        return prose.REDUCED.format(full=_FULL_S, duration=duration_s)

    # Runs ----------------------------------------------------------------------------------------

    def _base(self, workload: str, image_ratio: float | None = None) -> Scenario:
        spec = WorkloadSpec(workload, duration_s=self._size.duration_s, image_ratio=image_ratio)
        return Scenario(ELASTIC, spec, warm_up_ratio=0.3)

    def _main(self, workload: str) -> dict[str, Sweep]:
        return self._sweep(self._base(workload), (ELASTIC, OLD, TODAY, *STATIC, *RIVALS))

    def _sweep(
        self, base: Scenario, policies: Sequence[str], *, few: bool = False
    ) -> dict[str, Sweep]:
        rates = self._size.few_rates if few else self._size.rates
        return sweep(base, policies, rates, self._size.num_seeds, jobs=self._jobs,
                     progress=self._progress)  # fmt: skip

    def _bursts(self) -> list[BurstEffect]:
        policies = (ELASTIC, "elasticmm-hard-groups", "elasticmm-fully-shared", TODAY, OLD)
        seeds = range(self._size.num_seeds)
        return [
            burst_effect(one, self._size.burst_rate, self._size.duration_s, seeds)
            for one in policies
        ]

    # Tables --------------------------------------------------------------------------------------

    def _against_paper(self, main: dict[str, dict[str, Sweep]], varying: dict[str, Sweep]) -> Table:
        rows = []
        for name, sweeps in main.items():
            ttft, throughput = PAPER[name]
            elastic, old, today = (sweeps[one] for one in (ELASTIC, OLD, TODAY))
            static = best(sweeps, STATIC, 1)
            rows += [
                (f"{name}: TTFT against vLLM 0.6.6, at most", _best_ttft(old, elastic), f"{ttft}x"),
                (f"{name}: throughput under SLO against vLLM 0.6.6, at most",
                 _best_capacity(old, elastic), f"{throughput}x"),
                (f"{name}: TTFT against vLLM of today, at most", _best_ttft(today, elastic), "–"),
                (f"{name}: throughput under SLO against vLLM of today, at most",
                 _best_capacity(today, elastic), "–"),
                (f"{name}: throughput under SLO against the best static split ({static.policy})",
                 _best_capacity(static, elastic), f"{PAPER_STATIC}x"),
            ]  # fmt: skip
        static = best(varying, STATIC, 1)
        rows.append(
            (f"antiphase: throughput under SLO against the best static split ({static.policy})",
             _best_capacity(static, varying[ELASTIC]), f"{PAPER_STATIC}x")
        )  # fmt: skip
        return Table("", ("ratio", "simulated", "paper"), rows)

    def _workload(self, name: str, sweeps: dict[str, Sweep]) -> list[str]:
        return [
            f"## {name}\n",
            "Carried requests per second by SLO scale:\n",
            markdown(self._capacities(sweeps)),
            "\nMean TTFT over input tokens, ms per token, by rate:\n",
            markdown(_by_rate(sweeps, lambda one, rate: one.input_latency(rate) * 1e3, 2)),
            "\np99 TTFT of text, ms:\n",
            markdown(_by_rate(sweeps, _p99("text"), 0)),
            "\np99 TTFT of requests with pictures, ms:\n",
            markdown(_by_rate(sweeps, _p99("image"), 0)),
            "\nMean time between tokens, requests with pictures, ms:\n",
            markdown(
                _by_rate(sweeps, lambda one, rate: one.mean(rate, "image", "tpot_s") * 1e3, 1)
            ),
            "",
        ]

    def _capacities(self, sweeps: dict[str, Sweep]) -> Table:
        header = ("policy", *(f"SLO x{scale}" for scale in SLO_SCALES))
        top = max(next(iter(sweeps.values())).runs)
        rows = [
            (policy, *(_capacity_text(one.capacity_rps(scale), top) for scale in SLO_SCALES))
            for policy, one in sweeps.items()
        ]
        return Table("", header, rows)

    def _ablations(self, full: dict[str, Sweep]) -> Table:
        sweeps = {ELASTIC: _subset(full[ELASTIC], self._size.few_rates)}
        sweeps |= self._sweep(self._base("sharegpt4o"), ABLATIONS, few=True)
        about = titles()
        rows = []
        for policy, one in sweeps.items():
            rate = self._size.few_rates[1]
            flips = Interval.of(run.flips_per_hour for run in one.runs[rate])
            rows.append(
                (policy, about[policy], interval_text(one.capacity_rps(1), 1),
                 f"{one.input_latency(rate) * 1e3:.2f}", f"{_p99('text')(one, rate):,.0f}",
                 f"{_p99('image')(one, rate):,.0f}", interval_text(flips))
            )  # fmt: skip
        rate = self._size.few_rates[1]
        header = ("policy", "what it is", "carried rps, SLO x1", f"input ms/token at {rate:g} rps",
                  "text TTFT p99 ms", "image TTFT p99 ms", "flips/h")  # fmt: skip
        return Table("", header, rows)

    def _flips(self, main: dict[str, dict[str, Sweep]]) -> Table:
        rows = [
            (name, *(interval_text(Interval.of(run.flips_per_hour for run in runs))
                     for runs in sweeps[ELASTIC].runs.values()))
            for name, sweeps in main.items()
        ]  # fmt: skip
        return Table(
            "", ("flips/h of 8 instances", *(f"{r:g} rps" for r in self._size.rates)), rows
        )

    def _causes(self, base: dict[str, Sweep]) -> Table:
        """The ratios against vLLM 0.6.6 when one assumption is changed."""
        round_robin = "coupled-vllm-0.6.6-round-robin"
        plain = self._base("sharegpt4o")
        encode_s, prefill_s = _picture_s()
        slower = round(_OBSERVED_ENCODE_SHARE * prefill_s / encode_s)
        cases = [
            ("as measured", {
                one: _subset(base[one], self._size.few_rates) for one in (ELASTIC, OLD)}, OLD),
            ("baseline behind a round-robin proxy", {
                ELASTIC: _subset(base[ELASTIC], self._size.few_rates),
                **self._sweep(plain, (round_robin,), few=True)}, round_robin),
            ("every request has a picture",
             self._sweep(self._base("sharegpt4o", 1.0), (ELASTIC, OLD), few=True), OLD),
            ("one request in five has a picture",
             self._sweep(self._base("sharegpt4o", 0.2), (ELASTIC, OLD), few=True), OLD),
            (f"encoder {slower:.0f} times slower: five times prefill, as the paper observed",
             self._sweep(replace(plain, encode_ratio=slower), (ELASTIC, OLD), few=True), OLD),
        ]  # fmt: skip
        rows = [
            (name, _best_ttft(sweeps[against], sweeps[ELASTIC]),
             _best_capacity(sweeps[against], sweeps[ELASTIC]))
            for name, sweeps, against in cases
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
    page = _Report(size, jobs, progress).page()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def tidy(page: str) -> str:
    """One empty line before headings and between paragraphs."""
    page = re.sub(r"\n*\n(?=## )", "\n\n", page)
    return re.sub(r"\n{3,}", "\n\n", page).rstrip() + "\n"


# Ratios and cells --------------------------------------------------------------------------------


def _best_ttft(baseline: Sweep, elastic: Sweep) -> str:
    """Largest ratio of mean normalised input latencies over rates that elastic carries."""
    rates = [
        rate for rate in elastic.runs if rate in baseline.runs
        and rate <= max(elastic.capacity_rps(max(SLO_SCALES)).mean, min(elastic.runs))
    ]  # fmt: skip
    ratio, rate = max(
        (baseline.input_latency(rate) / elastic.input_latency(rate), rate) for rate in rates
    )
    return f"{ratio:.1f}x (at {rate:g} rps)"


def _best_capacity(baseline: Sweep, elastic: Sweep) -> str:
    """Largest ratio of carried rates over SLO scales."""
    ratios = []
    for scale in SLO_SCALES:
        ours, theirs = elastic.capacity_rps(scale).mean, baseline.capacity_rps(scale).mean
        if theirs > 0:
            ratios.append((ours / theirs, scale))
        elif ours > 0:
            ratios.append((math.inf, scale))
    if not ratios:
        return "neither carries the lowest rate"
    ratio, scale = max(ratios)
    if math.isinf(ratio):
        return f"only elastic carries the lowest rate (SLO x{scale})"
    return f"{ratio:.2f}x (SLO x{scale})"


def _picture_s() -> tuple[float, float]:
    """Encode and prefill of the middle picture of sharegpt4o."""
    model = Scenario(ELASTIC, WorkloadSpec()).cost_model
    return model.encode_s(_PICTURE_TOKENS), model.prefill_s(_PICTURE_TOKENS)


def _causes_after() -> str:
    encode_s, prefill_s = _picture_s()
    return prose.CAUSES_AFTER.format(
        tokens=_PICTURE_TOKENS, encode_ms=encode_s * 1e3, prefill_ms=prefill_s * 1e3,
        encode_share=encode_s / prefill_s,
    )  # fmt: skip


def _p99(modality: str) -> Callable[[Sweep, float], float]:
    return lambda one, rate: one.mean(rate, modality, "ttft_s", "p99") * 1e3


def _by_rate(
    sweeps: dict[str, Sweep], value: Callable[[Sweep, float], float], digits: int
) -> Table:
    rates = list(next(iter(sweeps.values())).runs)
    rows = [
        (policy, *(f"{value(one, rate):,.{digits}f}" for rate in rates))
        for policy, one in sweeps.items()
    ]
    return Table("", ("policy", *(f"{rate:g} rps" for rate in rates)), rows)


def _capacity_text(capacity: Interval, top: float) -> str:
    text = interval_text(capacity, 1)
    return f"≥ {top:g}" if capacity.mean >= top else text


def _subset(one: Sweep, rates: Sequence[float]) -> Sweep:
    return Sweep(one.policy, {rate: runs for rate, runs in one.runs.items() if rate in rates})


def _burst_table(effects: Sequence[BurstEffect]) -> Table:
    header = ("policy", "text p99 quiet ms", "text p99 in the burst ms", "ratio",
              "image p99 quiet ms", "image p99 in the burst ms", "flips")  # fmt: skip
    rows = [
        (one.policy, f"{one.text_quiet_s * 1e3:,.0f}", f"{one.text_burst_s * 1e3:,.0f}",
         f"{one.text_ratio:.2f}", f"{one.image_quiet_s * 1e3:,.0f}",
         f"{one.image_burst_s * 1e3:,.0f}", f"{one.num_flips:.1f}")
        for one in effects
    ]  # fmt: skip
    return Table("", header, rows)
