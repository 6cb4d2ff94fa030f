"""Which rate to try next, and when to stop: the decisions of `search`, without any I/O.

The probes so far go in, the next step comes out, so that a search that was interrupted goes on from
the probes that were kept.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator

from saccade.loadtest.statistics import wilson_interval


class Outcome(StrEnum):
    """Whether enough requests held the SLO at a rate."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDETERMINED = "undetermined"
    """The interval of the attainment contains the wanted share."""


class StopReason(StrEnum):
    """Why a search ended."""

    RESOLVED = "resolved"
    """The rates that hold and fail are as close together as was asked for."""
    UPPER_BOUND_HOLDS = "upper_bound_holds"
    """The highest rate that was allowed holds: the limit is above it."""
    LOWER_BOUND_FAILS = "lower_bound_fails"
    """The lowest rate that was allowed fails: the limit, if any, is below it."""
    MAX_PROBES = "max_probes"
    """As many probes as were allowed; the bracket is wider than was asked for."""
    CLIENT_LIMIT = "client_limit"
    """The client could not keep the schedule at a rate: it, not the server, is the limit."""
    INTERRUPTED = "interrupted"
    """Ctrl-C."""


class SearchSettings(BaseModel):
    """How to search."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    share: float = Field(default=0.9, gt=0, lt=1)
    """Share of the requests sent that must meet the SLO."""
    min_rate: float = Field(default=0.1, gt=0)
    """Lowest rate to try, in requests per second."""
    max_rate: float = Field(default=1000.0, gt=0)
    """Highest rate to try, in requests per second."""
    start_rate: float = Field(default=1.0, gt=0)
    """First rate to try; then doubled or halved until the limit lies between two rates."""
    tolerance: float = Field(default=0.05, ge=0.002, le=1)
    """Stop when the failing rate is above the holding one by no more than this share of it."""
    max_probes: int = Field(default=20, ge=1)
    """All runs, repetitions included."""
    max_repeats: int = Field(default=3, ge=1)
    """Runs at one rate, with other seeds, while its outcome is undetermined."""

    @model_validator(mode="after")
    def _check(self) -> "SearchSettings":
        if not self.min_rate <= self.start_rate <= self.max_rate:
            raise ValueError(
                f"the first rate ({self.start_rate:g}) must lie between the lowest "
                f"({self.min_rate:g}) and the highest ({self.max_rate:g})"
            )
        return self


@dataclass(frozen=True, slots=True)
class Tally:
    """What one probe, or all at one rate, gave."""

    rate: float
    num_met: int
    num_missed: int
    num_undetermined: int
    trustworthy: bool = True

    @property
    def num_sent(self) -> int:
        return self.num_met + self.num_missed + self.num_undetermined

    @property
    def attainment(self) -> float:
        return self.num_met / self.num_sent

    def outcome(self, share: float) -> Outcome:
        """By the interval: what is undetermined of a request may turn out either way."""
        if not self.num_sent:
            return Outcome.UNDETERMINED
        worst = wilson_interval(self.num_met, self.num_sent)
        best = wilson_interval(self.num_met + self.num_undetermined, self.num_sent)
        if worst.low is not None and worst.low >= share:
            return Outcome.HOLDS
        if best.high is not None and best.high < share:
            return Outcome.FAILS
        return Outcome.UNDETERMINED


@dataclass(frozen=True, slots=True)
class Evidence:
    """All probes at one rate."""

    pooled: Tally
    """Of the trustworthy ones; it has no requests if there are none."""
    num_probes: int
    outcome: Outcome
    decided: bool
    """Nothing more is to be measured here."""
    by_estimate: bool
    """Repetitions are used up and the interval still contains the share: the estimate decides."""


@dataclass(frozen=True, slots=True)
class Try:
    """Measure at this rate; `repeat` counts the probes before at the same one."""

    rate: float
    repeat: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The search is over."""

    reason: StopReason


def evidence(probes: Sequence[Tally], settings: SearchSettings) -> Mapping[float, Evidence]:
    """What is known at each rate that was tried, by rising rate."""
    rates = sorted({probe.rate for probe in probes})
    return {
        rate: _evidence_at(rate, [p for p in probes if p.rate == rate], settings) for rate in rates
    }


def bracket(known: Mapping[float, Evidence]) -> tuple[float | None, float | None]:
    """The highest rate that holds below every one that fails, and the lowest that fails."""
    fails = [rate for rate, found in known.items() if found.outcome is Outcome.FAILS]
    bad = min(fails, default=None)
    holds = [
        rate
        for rate, found in known.items()
        if found.outcome is Outcome.HOLDS and (bad is None or rate < bad)
    ]
    return max(holds, default=None), bad


def next_step(probes: Sequence[Tally], settings: SearchSettings) -> Try | Stop:
    """What to do after these probes."""
    known = evidence(probes, settings)
    open_rates = [rate for rate, found in known.items() if not found.decided]
    unmeasured = any(found.decided and not found.pooled.num_sent for found in known.values())
    if unmeasured:
        return Stop(StopReason.CLIENT_LIMIT)
    good, bad = bracket(known)
    if not open_rates and (reason := _end(good, bad, settings)):
        return Stop(reason)
    if len(probes) >= settings.max_probes:
        return Stop(StopReason.MAX_PROBES)
    if open_rates:
        return Try(open_rates[0], known[open_rates[0]].num_probes)
    return Try(_next_rate(good, bad, settings), 0)


def _evidence_at(rate: float, probes: Sequence[Tally], settings: SearchSettings) -> Evidence:
    usable = [probe for probe in probes if probe.trustworthy]
    pooled = Tally(
        rate,
        sum(probe.num_met for probe in usable),
        sum(probe.num_missed for probe in usable),
        sum(probe.num_undetermined for probe in usable),
    )
    outcome = pooled.outcome(settings.share)
    exhausted = len(probes) >= settings.max_repeats
    by_estimate = outcome is Outcome.UNDETERMINED and exhausted and pooled.num_sent > 0
    if by_estimate:
        outcome = Outcome.HOLDS if pooled.attainment >= settings.share else Outcome.FAILS
    decided = outcome is not Outcome.UNDETERMINED or exhausted
    return Evidence(pooled, len(probes), outcome, decided, by_estimate)


def _end(good: float | None, bad: float | None, settings: SearchSettings) -> StopReason | None:
    if good is not None and bad is not None:
        close = bad <= good * (1 + settings.tolerance)
        # A bracket that rounding cannot divide any more is as good as it gets.
        stuck = _next_rate(good, bad, settings) in (good, bad)
        return StopReason.RESOLVED if close or stuck else None
    if good is not None and good >= settings.max_rate:
        return StopReason.UPPER_BOUND_HOLDS
    if bad is not None and bad <= settings.min_rate:
        return StopReason.LOWER_BOUND_FAILS
    return None


def _next_rate(good: float | None, bad: float | None, settings: SearchSettings) -> float:
    if bad is None:
        return settings.start_rate if good is None else min(_rounded(2 * good), settings.max_rate)
    if good is None:
        return max(_rounded(bad / 2), settings.min_rate)
    return _rounded(math.sqrt(good * bad))


def _rounded(rate: float) -> float:
    return float(f"{rate:.4g}")
