"""From a plan to the sessions that will be sent, and when."""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from saccade.loadtest.arrivals.process import arrival_times
from saccade.loadtest.arrivals.profile import scaled, with_factors
from saccade.loadtest.arrivals.spec import ClosedArrivals, OpenArrivals
from saccade.loadtest.errors import PlanError
from saccade.loadtest.plan import Plan
from saccade.loadtest.workloads.load import sessions
from saccade.loadtest.workloads.mixture import component_sources
from saccade.loadtest.workloads.session import Session
from saccade.loadtest.workloads.spec import MixtureSpec
from saccade.loadtest.workloads.text import TextSource

CLOSED_SESSIONS_BY_USER_SECOND = 4
"""How many sessions are prepared for a closed loop that only has a duration."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A session and its place."""

    index: int
    session: Session
    at_s: float | None
    """After the start; None in a closed loop."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """All sessions of a run, by time."""

    planned: tuple[Planned, ...]
    length_s: float | None
    """None: until the sessions are used up."""


def make_schedule(plan: Plan, text: TextSource) -> Schedule:
    """Draw everything that the plan leaves to chance.

    Raises:
        LoadTestError: nothing is to be sent, or a file cannot be read.
    """
    if isinstance(plan.arrivals, OpenArrivals):
        pairs = _open(plan, plan.arrivals, text)
    elif isinstance(plan.arrivals, ClosedArrivals):
        pairs = _closed(plan, plan.arrivals, text)
    else:
        pairs = _recorded(plan, plan.arrivals.speed, text)
    length = plan.schedule_s
    if length is not None:
        pairs = _before(length, pairs)
    planned = tuple(
        Planned(index, session, at_s)
        for index, (at_s, session) in enumerate(itertools.islice(pairs, plan.num_requests))
    )
    if not planned:
        raise PlanError(
            "The plan sends nothing at all: the rate, the duration or the file is too small."
        )
    used_up = plan.num_requests is not None and len(planned) == plan.num_requests
    if length is None or (used_up and planned[-1].at_s is not None):
        last = planned[-1].at_s
        # One mean gap after the last arrival, so that n arrivals at rate r take n / r.
        length = None if last is None else last + (last / max(1, len(planned) - 1) or 1.0)
    return Schedule(planned, length)


Pair = tuple[float | None, Session]


def _before(length_s: float, pairs: Iterator[Pair]) -> Iterator[Pair]:
    return itertools.takewhile(lambda pair: pair[0] is None or pair[0] < length_s, pairs)


def _open(plan: Plan, arrivals: OpenArrivals, text: TextSource) -> Iterator[Pair]:
    workload = plan.workload
    if isinstance(workload, MixtureSpec) and any(c.waves for c in workload.components):
        yield from _open_in_waves(plan, arrivals, workload, text)
        return
    rng = np.random.default_rng((plan.seed, 0))
    times = arrival_times(arrivals.process, arrivals.burstiness, arrivals.profile, rng)
    yield from zip(map(float, times), sessions(plan, text), strict=False)


def _open_in_waves(
    plan: Plan, arrivals: OpenArrivals, workload: MixtureSpec, text: TextSource
) -> Iterator[Pair]:
    """Each component comes in its own rhythm; together they have the plan's mean rate."""
    whole = sum(component.weight for component in workload.components)
    sources = component_sources(workload, text, plan.seed)
    streams = []
    for index, component in enumerate(workload.components):
        profile = scaled(arrivals.profile, component.weight / whole)
        if component.waves:
            profile = with_factors(profile, [(w.duration_s, w.factor) for w in component.waves])
        rng = np.random.default_rng((plan.seed, 0, index))
        times = arrival_times(arrivals.process, arrivals.burstiness, profile, rng)
        streams.append([(float(t), component.name) for t in times])
    for at_s, name in heapq.merge(*streams):
        yield at_s, sources[name].draw()


def _closed(plan: Plan, arrivals: ClosedArrivals, text: TextSource) -> Iterator[Pair]:
    number = plan.num_requests
    if number is None:
        seconds = plan.duration_s or 0.0
        number = int(arrivals.concurrency * max(1.0, seconds * CLOSED_SESSIONS_BY_USER_SECOND))
    for session in itertools.islice(sessions(plan, text), number):
        yield None, session


def _recorded(plan: Plan, speed: float, text: TextSource) -> Iterator[Pair]:
    for session in sessions(plan, text):
        if session.at_s is None:
            raise PlanError(
                f"{plan.workload.name} does not say when its requests came; give --rate or "
                "--concurrency."
            )
        yield session.at_s / speed, session
