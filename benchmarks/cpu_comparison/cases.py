"""The traffic on which both servers are compared."""

from dataclasses import dataclass
from pathlib import Path

from saccade.loadtest.arrivals.spec import ClosedArrivals, OpenArrivals, steady
from saccade.loadtest.plan import Plan
from saccade.loadtest.slo import Slo
from saccade.loadtest.workloads.presets import PRESETS
from saccade.loadtest.workloads.spec import Component, MixtureSpec, Wave

URL = "http://127.0.0.1:1"  # of no server: a comparison puts in its two

TEXT_RATE = 2.0
"""Requests per second that go on while pictures burst in."""

BURST_FACTORS = (0.5, 0.8, 1.2)
"""Of the picture rate that stock vLLM sustains."""

RATES = {"text": 3.0, "single-picture": 1.5, "repeated-picture": 1.5, "multi-turn": 0.5}
"""Requests per second; of multi-turn, conversations."""


@dataclass(frozen=True)
class Case:
    """One table of the page."""

    name: str
    what: str
    plan: Plan


@dataclass(frozen=True)
class Slices:
    """How one slice of a comparison runs."""

    duration_s: float
    edge_s: float
    """Warm-up, and as much for cool-down."""
    tokenizer: Path
    slo: Slo | None = None

    def plan(self, workload: MixtureSpec, rate: float) -> Plan:
        """One slice at a rate."""
        return Plan(
            url=URL,
            workload=workload,
            arrivals=OpenArrivals(profile=steady(rate, self.duration_s)),
            warmup_s=self.edge_s,
            cooldown_s=self.edge_s,
            tokenizer=self.tokenizer,
            slo=self.slo,
            explain="off",  # the other side cannot, and it is not free
        )


def cases(slices: Slices, picture_rate: float) -> list[Case]:
    """All of them.

    Args:
        picture_rate: pictures per second that stock vLLM sustains on this machine.
    """
    found = [
        Case(name, PRESETS[name].what, slices.plan(PRESETS[name].workload, rate))
        for name, rate in RATES.items()
    ]
    return found + [_burst(slices, factor, picture_rate) for factor in BURST_FACTORS]


def _burst(slices: Slices, factor: float, picture_rate: float) -> Case:
    """Pictures come in the middle third of a slice, text all the time."""
    third = slices.duration_s / 3
    mean = factor * picture_rate / 3
    waves = tuple(Wave(duration_s=third, factor=f) for f in (0, 1, 0))
    (text,), (picture,) = (PRESETS[name].workload.components for name in ("text", "single-picture"))
    components: tuple[Component, ...] = (
        text.model_copy(update={"weight": TEXT_RATE}),
        picture.model_copy(update={"weight": mean, "waves": waves}),
    )
    name = f"mixed-burst-{factor:g}"
    what = (
        f"Text at {TEXT_RATE:g}/s throughout; in the middle third of each slice, pictures at "
        f"{factor * picture_rate:.2f}/s: {factor:g} times what stock vLLM sustains."
    )
    workload = MixtureSpec(name=name, components=components)
    return Case(name, what, slices.plan(workload, TEXT_RATE + mean))


def light_load(slices: Slices) -> Plan:
    """Both kinds of requests, hardly ever two at once: what the SLO is a multiple of."""
    names = ("text", "single-picture")
    components = tuple(PRESETS[name].workload.components[0] for name in names)
    return slices.plan(MixtureSpec(name="light", components=components), 0.5)


def saturation(slices: Slices) -> Plan:
    """More pictures than can be served at once, so that their rate is the server's own."""
    plan = slices.plan(PRESETS["single-picture"].workload, 1.0)
    fields = {name: getattr(plan, name) for name in type(plan).model_fields}
    changes = {"arrivals": ClosedArrivals(concurrency=16), "duration_s": slices.duration_s}
    return Plan(**(fields | changes))
