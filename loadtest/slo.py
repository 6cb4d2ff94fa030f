"""Service-level objectives, and whether a request met one."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from saccade.loadtest.errors import PlanError
from saccade.loadtest.records import Modality, RequestRecord, Status

SECONDS_BY_UNIT = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
EXAMPLE = "ttft=500ms,tpot=50ms,image.ttft=2s"

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[a-z]*)")


class Bound(StrEnum):
    """What an objective may bound."""

    TTFT = "ttft"
    """Time from send to first content."""
    SCHEDULED_TTFT = "scheduled_ttft"
    """Time from when the request was due to first content."""
    TPOT = "tpot"
    """Mean time of an output token after the first."""
    ITL = "itl"
    """Longest gap between two chunks."""
    E2E = "e2e"
    """Time from send to last content."""
    SCHEDULED_E2E = "scheduled_e2e"
    """Time from when the request was due to last content."""


class Verdict(StrEnum):
    """Whether a request met its objective."""

    MET = "met"
    MISSED = "missed"
    UNDETERMINED = "undetermined"
    """Nothing was missed, but not all could be measured: TPOT of a one-token answer, say."""


class Limit(BaseModel):
    """One bound, for one modality or for all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bound: Bound = Field(description="What is bounded.")
    limit_s: float = Field(gt=0, description="Largest value that is still good, in seconds.")
    modality: Modality | None = Field(
        default=None,
        description="The requests it is for; null for all that have none of their own.",
    )

    def __str__(self) -> str:
        prefix = f"{self.modality}." if self.modality else ""
        return f"{prefix}{self.bound}={format_duration(self.limit_s)}"


class Slo(BaseModel):
    """What a request must hold to be good: all limits that apply to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limits: tuple[Limit, ...] = Field(min_length=1, description="In the order they were given.")

    def of(self, modality: Modality) -> dict[Bound, float]:
        """Limits in seconds that apply to a modality: its own win over the general ones."""
        general = {x.bound: x.limit_s for x in self.limits if x.modality is None}
        own = {x.bound: x.limit_s for x in self.limits if x.modality is modality}
        return general | own

    def __str__(self) -> str:
        return ",".join(str(limit) for limit in self.limits)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many requests met an objective; together all that were sent."""

    num_met: int = 0
    num_missed: int = 0
    num_undetermined: int = 0

    @property
    def total(self) -> int:
        return self.num_met + self.num_missed + self.num_undetermined


def parse_slo(text: str) -> Slo:
    """Read `ttft=500ms,tpot=50ms,image.ttft=2s`.

    Raises:
        PlanError: It cannot be read, names the same limit twice, or names none.
    """
    limits = tuple(_parse_limit(part.strip()) for part in text.split(",") if part.strip())
    if not limits:
        raise PlanError(f"The SLO is empty; write for example {EXAMPLE}.")
    seen: set[tuple[Modality | None, Bound]] = set()
    for limit in limits:
        key = (limit.modality, limit.bound)
        if key in seen:
            name = str(limit).split("=", maxsplit=1)[0]
            raise PlanError(f"The SLO gives {name} twice; leave one of them out.")
        seen.add(key)
    return Slo(limits=limits)


def parse_duration(text: str) -> float:
    """Seconds of `500ms`, `2s`, `1.5min`; a bare number is refused, its unit being a guess.

    Raises:
        PlanError: It is no positive duration.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    units = ", ".join(SECONDS_BY_UNIT)
    if match is None:
        raise PlanError(f"{text!r} is no duration; write a number and a unit ({units}): 500ms.")
    unit = match["unit"]
    if unit not in SECONDS_BY_UNIT:
        problem = f"{text!r} has no unit" if not unit else f"{text!r}: unknown unit {unit!r}"
        raise PlanError(f"{problem}; use one of {units}, for example {match['number']}ms.")
    seconds = float(match["number"]) * SECONDS_BY_UNIT[unit]
    if seconds <= 0:
        raise PlanError(f"{text!r} is no positive duration.")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest way to write it that `parse_duration` understands."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_plain(seconds / size)}{unit}"
    return f"{_plain(seconds / 1e-6)}us"


def verdict(record: RequestRecord, slo: Slo) -> Verdict:
    """One missed limit decides; else one that could not be measured leaves it open.

    A failed request has missed: it took part of the traffic and gave its user nothing. Dropping
    what is undetermined instead would favour a server that answers with one token.
    """
    found = set(verdict_by_bound(record, slo).values())
    if Verdict.MISSED in found or record.status is Status.ERROR:
        return Verdict.MISSED
    return Verdict.UNDETERMINED if Verdict.UNDETERMINED in found else Verdict.MET


def verdict_by_bound(record: RequestRecord, slo: Slo) -> Mapping[Bound, Verdict]:
    """The verdict on each limit that applies to the request, taken by itself."""
    if record.status is Status.ERROR:
        return dict.fromkeys(slo.of(record.modality), Verdict.MISSED)
    if record.status is Status.CANCELLED:
        return dict.fromkeys(slo.of(record.modality), Verdict.UNDETERMINED)
    return {
        bound: _verdict(measured(record, bound), limit_s)
        for bound, limit_s in slo.of(record.modality).items()
    }


def measured(record: RequestRecord, bound: Bound) -> float | None:
    """What the request took, in seconds, by the measure that the bound is on; None if undefined."""
    match bound:
        case Bound.TTFT:
            return record.ttft_s
        case Bound.SCHEDULED_TTFT:
            return record.scheduled_ttft_s
        case Bound.TPOT:
            return record.tpot_s
        case Bound.ITL:
            return max(record.gaps_s, default=None)
        case Bound.E2E:
            return record.e2e_s
        case Bound.SCHEDULED_E2E:
            return record.scheduled_e2e_s


def count(records: Iterable[RequestRecord], slo: Slo) -> Counts:
    """Verdicts of requests that were sent, failures included."""
    verdicts = [verdict(record, slo) for record in records]
    return Counts(
        num_met=verdicts.count(Verdict.MET),
        num_missed=verdicts.count(Verdict.MISSED),
        num_undetermined=verdicts.count(Verdict.UNDETERMINED),
    )


def _parse_limit(text: str) -> Limit:
    name, equals, value = text.partition("=")
    if not equals:
        raise PlanError(f"SLO: {text!r} has no '='; write for example {EXAMPLE}.")
    *prefix, bound = [part.strip().lower() for part in name.split(".")]
    if len(prefix) > 1 or bound not in set(Bound):
        known = ", ".join(Bound)
        raise PlanError(f"SLO: cannot bound {name.strip()!r}; known are {known}.")
    if prefix and prefix[0] not in set(Modality):
        known = ", ".join(Modality)
        raise PlanError(f"SLO: unknown modality {prefix[0]!r} in {text!r}; known are {known}.")
    return Limit(
        bound=Bound(bound),
        limit_s=parse_duration(value),
        modality=Modality(prefix[0]) if prefix else None,
    )


def _verdict(value_s: float | None, limit_s: float) -> Verdict:
    if value_s is None:
        return Verdict.UNDETERMINED
    return Verdict.MET if value_s <= limit_s else Verdict.MISSED


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
