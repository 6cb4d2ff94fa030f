"""The tables of docs/results/simulation.md, out of what was run."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from saccade.scheduler.simulator.burst import BurstEffect
from saccade.scheduler.simulator.output.rows import Table, interval_text
from saccade.scheduler.simulator.runs import Interval
from saccade.scheduler.simulator.scenario import SLO_SCALES
from saccade.scheduler.simulator.sweep import Sweep


def capacities(sweeps: Mapping[str, Sweep]) -> Table:
    """Carried rates by SLO scale."""
    header = ("policy", *(f"SLO x{scale}" for scale in SLO_SCALES))
    top = max(next(iter(sweeps.values())).runs)
    rows = [
        (policy, *(_capacity_text(one.capacity_rps(scale), top) for scale in SLO_SCALES))
        for policy, one in sweeps.items()
    ]
    return Table("", header, rows)


def by_rate(
    sweeps: Mapping[str, Sweep], value: Callable[[Sweep, float], float], digits: int
) -> Table:
    rates = list(next(iter(sweeps.values())).runs)
    rows = [
        (policy, *(f"{value(one, rate):,.{digits}f}" for rate in rates))
        for policy, one in sweeps.items()
    ]
    return Table("", ("policy", *(f"{rate:g} rps" for rate in rates)), rows)


def parts_of_the_paper(sweeps: Mapping[str, Sweep], rate: float, about: Mapping[str, str]) -> Table:
    """Capacity, and latencies at one rate."""
    rows = [
        (policy, about[policy], interval_text(one.capacity_rps(1), 1),
         f"{one.input_latency(rate) * 1e3:.2f}", f"{p99_ms('text')(one, rate):,.0f}",
         f"{p99_ms('image')(one, rate):,.0f}", interval_text(flips(one, rate)))
        for policy, one in sweeps.items()
    ]  # fmt: skip
    header = ("policy", "what it is", "carried rps, SLO x1", f"input ms/token at {rate:g} rps",
              "text TTFT p99 ms", "image TTFT p99 ms", "flips/h")  # fmt: skip
    return Table("", header, rows)


def switches(
    sweeps: Mapping[str, Sweep], effects: Mapping[str, BurstEffect], rate: float,
    about: Mapping[str, str],
) -> Table:  # fmt: skip
    """Each under a stationary load and in a burst."""
    rows = [
        (policy, about[policy], f"{p99_ms('text')(one, rate):,.0f}",
         f"{p99_ms('image')(one, rate):,.0f}", interval_text(flips(one, rate)),
         f"{effects[policy].text_ratio:.2f}", f"{effects[policy].image_burst_s * 1e3:,.0f}",
         f"{effects[policy].num_flips:.1f}")
        for policy, one in sweeps.items()
    ]  # fmt: skip
    header = ("policy", "what it is", f"text TTFT p99 ms at {rate:g} rps", "image TTFT p99 ms",
              "flips/h", "text p99 in the burst, ratio", "image p99 in the burst ms",
              "flips of that run")  # fmt: skip
    return Table("", header, rows)


def bursts(effects: Iterable[BurstEffect]) -> Table:
    header = ("policy", "text p99 quiet ms", "text p99 in the burst ms", "ratio",
              "image p99 quiet ms", "image p99 in the burst ms", "flips")  # fmt: skip
    rows = [
        (one.policy, f"{one.text_quiet_s * 1e3:,.0f}", f"{one.text_burst_s * 1e3:,.0f}",
         f"{one.text_ratio:.2f}", f"{one.image_quiet_s * 1e3:,.0f}",
         f"{one.image_burst_s * 1e3:,.0f}", f"{one.num_flips:.1f}")
        for one in effects
    ]  # fmt: skip
    return Table("", header, rows)


def flips_by_rate(sweeps: Mapping[str, Sweep], bound: float) -> Table:
    """Of each workload's elastic runs; `bound` on an hour's moves of the cluster."""
    rates = list(next(iter(sweeps.values())).runs)
    rows = [
        (name, *(interval_text(flips(one, rate)) for rate in rates)) for name, one in sweeps.items()
    ]
    header = (f"flips/h of 8 instances (bound {bound:g})", *(f"{r:g} rps" for r in rates))
    return Table("", header, rows)


# Ratios and cells --------------------------------------------------------------------------------


def best_ttft(baseline: Sweep, elastic: Sweep) -> str:
    """Largest ratio of mean normalised input latencies over rates that elastic carries."""
    rates = [
        rate for rate in elastic.runs if rate in baseline.runs
        and rate <= max(elastic.capacity_rps(max(SLO_SCALES)).mean, min(elastic.runs))
    ]  # fmt: skip
    ratio, rate = max(
        (baseline.input_latency(rate) / elastic.input_latency(rate), rate) for rate in rates
    )
    return f"{ratio:.1f}x (at {rate:g} rps)"


def best_capacity(baseline: Sweep, elastic: Sweep) -> str:
    """Largest ratio of carried rates over SLO scales, of equals at the lowest scale.

    What carries the highest rate that was simulated may carry more: a ratio to it is a bound, and
    of two such there is none.
    """
    top = max(elastic.runs)
    ratios = []
    for scale in SLO_SCALES:
        ours, theirs = elastic.capacity_rps(scale).mean, baseline.capacity_rps(scale).mean
        if min(ours, theirs) >= top or not max(ours, theirs):
            continue
        bound = "≥ " if ours >= top else "≤ " if theirs >= top else ""
        ratios.append((ours / theirs if theirs else math.inf, -scale, bound))
    if not ratios:
        carried = elastic.capacity_rps(SLO_SCALES[0]).mean > 0
        return f"both carry {top:g} rps and more" if carried else "neither carries the lowest rate"
    ratio, scale, bound = max(ratios)
    if math.isinf(ratio):
        return f"only elastic carries the lowest rate (SLO x{-scale})"
    return f"{bound}{ratio:.2f}x (SLO x{-scale})"


def p99_ms(modality: str) -> Callable[[Sweep, float], float]:
    return lambda one, rate: one.mean(rate, modality, "ttft_s", "p99") * 1e3


def flips(one: Sweep, rate: float) -> Interval:
    """An hour."""
    return Interval.of(run.flips_per_hour for run in one.runs[rate])


def subset(one: Sweep, rates: Sequence[float]) -> Sweep:
    return Sweep(one.policy, {rate: runs for rate, runs in one.runs.items() if rate in rates})


def _capacity_text(capacity: Interval, top: float) -> str:
    text = interval_text(capacity, 1)
    return f"≥ {top:g}" if capacity.mean >= top else text
