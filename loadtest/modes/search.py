"""Find the highest rate at which a given share of the requests holds the SLO."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import stats

from saccade.loadtest.errors import PlanError
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.modes.bisection import (
    Outcome,
    SearchSettings,
    Stop,
    StopReason,
    Tally,
    Try,
    bracket,
    evidence,
    next_step,
)
from saccade.loadtest.modes.measuring import (
    Announce,
    Measurement,
    Measurer,
    ResultModel,
    silent,
    write_result,
)
from saccade.loadtest.plan import Plan, Run
from saccade.loadtest.records import RunRecord
from saccade.loadtest.slo import Counts, Slo, count
from saccade.loadtest.statistics import Interval, wilson_interval

FILE = "search.json"
PREFIX = "probe"
FALLING_P_VALUE = 0.01

SENTENCES = {
    StopReason.RESOLVED: "The highest rate that holds is found, to the tolerance asked for.",
    StopReason.UPPER_BOUND_HOLDS: "The highest rate allowed still holds: raise --max-rate.",
    StopReason.LOWER_BOUND_FAILS: "The lowest rate allowed fails: lower --min-rate, or the SLO "
    "cannot be held at all.",
    StopReason.MAX_PROBES: "All probes are used up; the rates below are a bracket. Raise "
    "--max-probes and run it again: finished probes are kept.",
    StopReason.CLIENT_LIMIT: "The client could not keep its schedule, so the server's limit is not "
    "known: use more --processes, or another machine.",
    StopReason.INTERRUPTED: "Interrupted; run the same command to go on.",
}


class Probe(ResultModel):
    """One run of a search."""

    rate: float
    """Requests per second that were offered."""
    repeat: int
    """Which run at this rate, from 0; each has its own seed."""
    seed: int
    num_sent: int
    num_met: int
    num_missed: int
    """Failed requests included."""
    num_undetermined: int
    attainment: Interval
    """num_met / num_sent, with Wilson's interval."""
    outcome: Outcome
    """By this probe alone."""
    falling: bool
    """Significantly worse in the second half: the server was falling behind, and a longer probe
    would show less."""
    trustworthy: bool
    """Whether the client kept its schedule; if not, the probe is not used."""
    folder: str | None = None
    resumed: bool = False
    summary: Summary

    @property
    def tally(self) -> Tally:
        return Tally(
            self.rate, self.num_met, self.num_missed, self.num_undetermined, self.trustworthy
        )


class SearchResult(ResultModel):
    """What `search.json` holds."""

    schema_version: Literal[1] = 1
    kind: Literal["search"] = "search"
    plan: str
    """In words."""
    slo: str
    settings: SearchSettings
    probes: tuple[Probe, ...] = ()
    """In the order in which they ran."""
    best_rate: float | None = None
    """Highest rate that holds, in requests per second; null if none does."""
    best_attainment: Interval | None = None
    """At that rate, all its probes pooled."""
    failing_rate: float | None = None
    """Lowest rate that fails; null if none does."""
    by_estimate: bool = False
    """The best or the failing rate was decided by the estimate alone, its interval being too wide:
    longer probes would say more."""
    stop_reason: StopReason | None = None
    """Null while it runs."""

    @property
    def resolved(self) -> bool:
        return self.stop_reason is StopReason.RESOLVED

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader has to know before believing the result."""
        found = []
        if self.by_estimate:
            found.append(
                "A rate was decided by its estimate, since the interval still contains the share "
                "after all repetitions; longer probes (--duration) would decide it."
            )
        if any(probe.falling and probe.rate == self.best_rate for probe in self.probes):
            found.append(
                "At the rate found, attainment fell from the first half of a probe to the second: "
                "the server was falling behind, and longer probes would give a lower rate."
            )
        if any(not probe.trustworthy for probe in self.probes):
            found.append("Probes in which the client was late are listed, but not used.")
        return tuple(found)


def search(
    plan: Plan,
    settings: SearchSettings,
    run: Run,
    *,
    folder: Path | None = None,
    announce: Announce = silent,
) -> tuple[SearchResult, list[RunRecord]]:
    """Double or halve the rate until the limit is bracketed, then bisect (in the logarithm).

    A rate at which the interval contains the share is measured again with another seed. Each rate
    is first measured with the plan's own seed, so that rates differ by rate and not by luck. With a
    folder, each probe is kept, and the same search again goes on from them. The records are given
    with the result, one for each probe.

    Raises:
        LoadTestError: A probe cannot be measured, or the plan has no SLO. Those before it are kept.
    """
    if plan.slo is None:
        raise PlanError("A search needs an SLO to hold; give one: --slo ttft=500ms,tpot=50ms.")
    measurer = Measurer(run, folder)
    probes: list[Probe] = []
    records: list[RunRecord] = []
    while True:
        step = next_step([probe.tally for probe in probes], settings)
        if isinstance(step, Stop):
            reason = step.reason
            break
        announce(_describe(step, probes))
        changed = plan.with_rate(step.rate).with_seed(plan.seed + step.repeat)
        done = measurer.measure(changed, PREFIX)
        if done.summary.interrupted:
            reason = StopReason.INTERRUPTED
            break
        probes.append(_probe(step, changed.seed, done, plan.slo, settings))
        records.append(done.record)
        _save(folder, _result(plan, settings, probes, None))
    result = _result(plan, settings, probes, reason)
    _save(folder, result)
    return result, records


def is_falling(record: RunRecord, slo: Slo) -> bool:
    """Whether significantly fewer requests met the SLO in the second half (Fisher, one-sided)."""
    requests = record.measured
    half = len(requests) // 2
    first, second = count(requests[:half], slo), count(requests[half:], slo)
    if not first.total or not second.total:
        return False
    table = np.array([_row(first), _row(second)])
    p_value = float(stats.fisher_exact(table, alternative="greater").pvalue)
    return p_value < FALLING_P_VALUE


def _row(counts: Counts) -> list[int]:
    return [counts.num_met, counts.total - counts.num_met]


def _probe(step: Try, seed: int, done: Measurement, slo: Slo, settings: SearchSettings) -> Probe:
    counts = count(done.record.measured, slo)
    if not counts.total:
        raise PlanError(
            f"At {step.rate:g} requests/s no request fell into the measured window; make the "
            "probes longer (--duration) or the lowest rate higher (--min-rate)."
        )
    tally = Tally(step.rate, counts.num_met, counts.num_missed, counts.num_undetermined)
    return Probe(
        rate=step.rate,
        repeat=step.repeat,
        seed=seed,
        num_sent=counts.total,
        num_met=counts.num_met,
        num_missed=counts.num_missed,
        num_undetermined=counts.num_undetermined,
        attainment=wilson_interval(counts.num_met, counts.total),
        outcome=tally.outcome(settings.share),
        falling=is_falling(done.record, slo),
        trustworthy=done.summary.client.trustworthy,
        folder=done.folder,
        resumed=done.resumed,
        summary=done.summary,
    )


def _result(
    plan: Plan,
    settings: SearchSettings,
    probes: Sequence[Probe],
    reason: StopReason | None,
) -> SearchResult:
    known = evidence([probe.tally for probe in probes], settings)
    good, bad = bracket(known)
    best = known[good].pooled if good is not None else None
    return SearchResult(
        plan=plan.describe(),
        slo=str(plan.slo),
        settings=settings,
        probes=tuple(probes),
        best_rate=good,
        best_attainment=wilson_interval(best.num_met, best.num_sent) if best else None,
        failing_rate=bad,
        by_estimate=any(known[rate].by_estimate for rate in (good, bad) if rate is not None),
        stop_reason=reason,
    )


def _save(folder: Path | None, result: SearchResult) -> None:
    if folder is not None:
        write_result(folder / FILE, result)


def _describe(step: Try, probes: Sequence[Probe]) -> str:
    again = f", again ({step.repeat + 1})" if step.repeat else ""
    return f"probe {len(probes) + 1}: {step.rate:g} requests/s{again}"
