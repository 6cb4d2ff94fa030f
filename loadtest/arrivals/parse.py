"""Arrivals as the command line gives them."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from saccade.loadtest.arrivals.process import Process
from saccade.loadtest.arrivals.profile import Segment
from saccade.loadtest.arrivals.spec import (
    Arrivals,
    ClosedArrivals,
    OpenArrivals,
    TraceArrivals,
    steady,
)
from saccade.loadtest.errors import PlanError
from saccade.loadtest.slo import parse_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalOptions:
    """What was given of each; None is not given."""

    rate: float | None = None
    ramp: str | None = None
    steps: str | None = None
    concurrency: int | None = None
    speed: float | None = None
    process: Literal["poisson", "gamma", "constant"] | None = None
    burstiness: float | None = None
    duration_s: float | None = None
    num_requests: int | None = None


def parse_arrivals(options: ArrivalOptions, *, recorded: bool) -> Arrivals:
    """The arrivals that were asked for; recorded times if nothing was and the workload has them.

    Raises:
        PlanError: nothing, or two things that exclude each other, or something malformed.
    """
    for name in ("rate", "speed", "burstiness"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise PlanError(f"--{name} must be above 0 and finite, not {value:g}.")
    ways = {
        "--rate": options.rate,
        "--ramp": options.ramp,
        "--steps": options.steps,
        "--concurrency": options.concurrency,
        "--speed": options.speed,
    }
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise PlanError(f"{' and '.join(given)} exclude each other; give one of them.")
    if options.concurrency is not None:
        return ClosedArrivals(concurrency=options.concurrency)
    if not given and not recorded:
        raise PlanError(
            "How many requests? Give --rate, --ramp, --steps or --concurrency "
            "(for example --rate 5)."
        )
    if not given or options.speed is not None:
        return TraceArrivals(speed=options.speed or 1.0)
    return OpenArrivals(
        process=_process(options), burstiness=options.burstiness or 1.0, profile=_profile(options)
    )


def _process(options: ArrivalOptions) -> Process:
    process = options.process
    if options.burstiness is not None:
        if process not in (None, "gamma"):
            raise PlanError(f"--burstiness is of gamma arrivals, not of {process} ones.")
        return "gamma"
    return process or "poisson"


def _profile(options: ArrivalOptions) -> tuple[Segment, ...]:
    if options.steps is not None:
        return parse_steps(options.steps)
    length = options.duration_s
    if options.ramp is not None:
        if length is None:
            raise PlanError("--ramp needs --duration.")
        first, last = parse_ramp(options.ramp)
        return (Segment(duration_s=length, begin_rate=first, end_rate=last),)
    assert options.rate is not None, "one of them was given"
    if length is None:
        if options.num_requests is None:
            raise PlanError("How long? Give --duration or --num-requests.")
        length = 10 * options.num_requests / options.rate + 60
    return steady(options.rate, length)


def parse_ramp(text: str) -> tuple[float, float]:
    """`1:10`: rates at the begin and the end."""
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*:\s*(\d+\.?\d*|\.\d+)\s*", text)
    if not found:
        raise PlanError(f"--ramp {text!r}: write two rates, such as 1:10.")
    first, last = float(found.group(1)), float(found.group(2))
    if first == last == 0:
        raise PlanError("--ramp from 0 to 0 sends nothing.")
    return first, last


def parse_steps(text: str) -> tuple[Segment, ...]:
    """`2x30s,5x1min`: rates, and how long each holds."""
    segments = []
    for part in text.split(","):
        rate, times, length = part.strip().partition("x")
        try:
            value = float(rate)
        except ValueError:
            value = -1.0
        if not times or not 0 <= value < math.inf:
            raise PlanError(f"--steps {text!r}: write rates and durations, such as 2x30s,5x30s.")
        segments.append(
            Segment(duration_s=parse_duration(length), begin_rate=value, end_rate=value)
        )
    return tuple(segments)
