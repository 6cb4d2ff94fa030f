"""Conditions under which a load test fails: `--fail-on 'p90.ttft>500ms'`.

condition  = [modality "."] quantity operator value
quantity   = statistic "." metric        a duration:  p90.ttft>500ms, max.itl>=1s
           | "attainment" | "accuracy" | "error_ratio"
                                         a share:     attainment<0.99, error_ratio>1%
           | "goodput" | "request_throughput" | "output_throughput" | …
                                         by second:   image.goodput<4
           | "errors"                    a number:    errors>0
statistic  = "p50" | "p90" | "p95" | "p99" | "mean" | "min" | "max"
operator   = ">" | ">=" | "<" | "<="
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from saccade.loadtest.errors import PlanError
from saccade.loadtest.metrics.definitions import METRICS
from saccade.loadtest.metrics.schema import ALL, PERCENTILES, Group, Summary
from saccade.loadtest.records import Modality
from saccade.loadtest.slo import format_duration, parse_duration

EXIT_CODE = 3
"""Of a command whose conditions, or whose SLO, did not hold."""

STAGE_PREFIX = "stage."
STATISTICS = (*PERCENTILES, "mean", "min", "max")

_CONDITION = re.compile(r"(?P<name>[\w.]+)\s*(?P<operator>>=|<=|>|<)\s*(?P<value>[^<>=\s].*)")
_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def _attainment(group: Group) -> float | None:
    return group.goodput.attainment.value if group.goodput else None


def _goodput(group: Group) -> float | None:
    return group.goodput.rate if group.goodput else None


def _accuracy(group: Group) -> float | None:
    return group.accuracy.ratio.value if group.accuracy else None


def _error_ratio(group: Group) -> float | None:
    return group.num_failed / group.num_sent if group.num_sent else None


_SHARES: Mapping[str, Callable[[Group], float | None]] = {
    "attainment": _attainment,
    "accuracy": _accuracy,
    "error_ratio": _error_ratio,
}
_NUMBERS: Mapping[str, Callable[[Group], float | None]] = {
    "errors": lambda group: group.num_failed,
    "goodput": _goodput,
    "request_throughput": lambda group: group.request_throughput,
    "input_throughput": lambda group: group.input_throughput,
    "visual_throughput": lambda group: group.visual_throughput,
    "output_throughput": lambda group: group.output_throughput,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """Fails the run when `quantity` stands to `limit` as the operator says."""

    text: str
    """As it was given."""
    group: str
    """`all` or a modality."""
    quantity: str
    """Such as `p90.ttft` or `attainment`."""
    comparison: str
    limit: float
    """In seconds, a share of one, or a number, as the quantity is."""

    @property
    def is_duration(self) -> bool:
        return "." in self.quantity

    def value(self, summary: Summary) -> float | None:
        """What the run gave; None if it gave nothing to compare."""
        group = summary.groups.get(self.group)
        if group is None:
            return None
        if not self.is_duration:
            of = _SHARES.get(self.quantity) or _NUMBERS[self.quantity]
            return of(group)
        statistic, metric = self.quantity.split(".", maxsplit=1)
        distribution = group.latencies.get(metric)
        if distribution is None:
            return None
        if statistic in PERCENTILES:
            return distribution.percentile(statistic).value
        found: float = getattr(distribution, statistic)
        return found

    def failure(self, summary: Summary) -> str | None:
        """A sentence with the value that was found, or None if the run passes."""
        found = self.value(summary)
        if found is None:
            return f"{self.text}: could not be checked, {self._why_unknown(summary)}"
        if not _OPERATORS[self.comparison](found, self.limit):
            return None
        return f"{self.text}: it is {self._written(found)}"

    def _why_unknown(self, summary: Summary) -> str:
        group = summary.groups.get(self.group)
        if group is None:
            return f"the run measured no {self.group} request"
        if self.quantity in ("attainment", "goodput") and group.goodput is None:
            return "the run had no SLO (give one with --slo)"
        return f"no measured request gave a value for {self.quantity.rpartition('.')[2]}"

    def _written(self, value: float) -> str:
        if self.is_duration:
            return format_duration(float(f"{value:.4g}")) if value > 0 else f"{value:g}s"
        return f"{value:.4g}"


def parse_condition(text: str) -> Condition:
    """Read one condition, such as `image.p99.ttft>2s`.

    Raises:
        PlanError: It cannot be read; the message says what would be right.
    """
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise PlanError(
            f"--fail-on: cannot read {text!r}; write a quantity, one of > >= < <=, and a value: "
            "'p90.ttft>500ms', 'image.p99.ttft>2s', 'attainment<0.99', 'errors>0'."
        )
    prefix, dot, rest = match["name"].partition(".")
    modality = dot and prefix in set(Modality)
    quantity = rest if modality else match["name"]
    _check_quantity(text, quantity)
    return Condition(
        text=text.strip(),
        group=prefix if modality else ALL,
        quantity=quantity,
        comparison=match["operator"],
        limit=_limit(text, quantity, match["value"].strip()),
    )


def failures(summary: Summary, conditions: Iterable[Condition]) -> list[str]:
    """What failed, a sentence each. What cannot be checked has failed: CI must not pass on it."""
    found = (condition.failure(summary) for condition in conditions)
    return [sentence for sentence in found if sentence is not None]


def _check_quantity(text: str, quantity: str) -> None:
    if quantity in _SHARES or quantity in _NUMBERS:
        return
    statistic, dot, metric = quantity.partition(".")
    if not dot:
        known = ", ".join((*_SHARES, *_NUMBERS))
        hint = f"p90.{statistic}" if statistic in METRICS else "p90.ttft"
        raise PlanError(
            f"--fail-on {text!r}: unknown quantity {quantity!r}; known are {known}, and "
            f"percentiles of metrics, such as {hint}."
        )
    if statistic not in STATISTICS:
        raise PlanError(
            f"--fail-on {text!r}: unknown statistic or modality {statistic!r}; statistics are "
            f"{', '.join(STATISTICS)}, modalities {', '.join(Modality)}."
        )
    if metric not in METRICS and not metric.startswith(STAGE_PREFIX):
        raise PlanError(
            f"--fail-on {text!r}: unknown metric {metric!r}; known are {', '.join(METRICS)} and "
            f"{STAGE_PREFIX}NAME."
        )


def _limit(text: str, quantity: str, value: str) -> float:
    try:
        if "." in quantity:
            return 0.0 if value == "0" else parse_duration(value)
        return _number(value, is_share=quantity in _SHARES)
    except PlanError as error:
        raise PlanError(f"--fail-on {text!r}: {error}") from error


def _number(value: str, *, is_share: bool) -> float:
    digits = value.removesuffix("%").strip() if is_share else value
    if not _NUMBER.fullmatch(digits):
        raise PlanError(f"{value!r} is no number; {'0.99 or 99%' if is_share else '4 or 2.5'}?")
    number = float(digits) / (100 if value.endswith("%") else 1)
    if is_share and number > 1:
        raise PlanError(f"{value} is no share of one; did you mean {value}%?")
    return number
