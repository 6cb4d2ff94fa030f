"""Whatever fails, moves or is given up: every request ends exactly once, and nothing is left over.

Invariants, each after the last event:
1. arrived = finished + cancelled + rejected, each request once;
2. a finished request has all its tokens, and its first token was counted once;
3. no KV is reserved, no batch or queue holds anything, no load is booked;
4. time never runs backwards for a request.
"""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saccade.scheduler.cluster import ROLES, Role
from saccade.scheduler.simulator.changes import Failure
from saccade.scheduler.simulator.costs import EngineTraits
from saccade.scheduler.simulator.engine import Options, Simulation
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.metrics import Metrics
from saccade.scheduler.simulator.policies.base import ALL, RoleMove
from saccade.scheduler.simulator.workloads.base import TraceRequest
from tests.unit.scheduler.simulator.some_costs import SomeCosts, SomeLayout, of

MODEL = SomeCosts(
    decode_sequence_s=1e-4, decode_context_s=1e-6, preprocess_pixel_s=1e-7, transfer_s=0.003,
    capacity_tokens=900,
)  # fmt: skip
NUM_INSTANCES = 4
DISAGGREGATED = EngineTraits(visual_cache_tokens=300, prefix_cache=True, preprocess_cores=1)
CHUNKED = EngineTraits(
    visual_cache_tokens=300, prefix_cache=True, chunked_prefill=True, prefill_budget_tokens=64
)
TRAITS = [
    DISAGGREGATED,
    CHUNKED,
    EngineTraits(inline_encode=True, blocking_preprocess=True, max_sequences=3),
    EngineTraits(inline_encode=True, chunked_prefill=True, prefill_budget_tokens=50,
                 visual_cache_tokens=200, prefix_cache=True),
]  # fmt: skip

moments = st.integers(0, 4000).map(lambda number: number * 1e-3)
role_sets = st.sets(st.sampled_from(ROLES), min_size=1).map(frozenset)
requests = st.builds(
    TraceRequest,
    arrival_s=moments,
    text_tokens=st.integers(1, 250),
    output_tokens=st.integers(1, 60),
    image_tokens=st.lists(st.integers(1, 200), max_size=3).map(tuple),
    image_keys=st.just(()),
    prefix_keys=st.sampled_from([(), (1, 2), (1, 3, 4)]),
    prefix_block_tokens=st.just(16),
    tenant=st.just("default"),
    patience_s=st.sampled_from([float("inf"), 0.02, 0.3, 2.0]),
)


@dataclass(frozen=True)
class Schedule:
    """What happens in one run."""

    trace: list[TraceRequest]
    layout: list[frozenset[Role]]
    traits: EngineTraits
    failures: list[Failure]
    moves: list[tuple[float, int, frozenset[Role]]]


def with_keys(trace: list[TraceRequest]) -> list[TraceRequest]:
    """Pictures of equal size are the same picture, in every other request."""
    ordered = sorted(trace, key=lambda request: request.arrival_s)
    return [
        request._replace(image_keys=request.image_tokens if number % 2 else ())
        for number, request in enumerate(ordered)
    ]


schedules = st.builds(
    Schedule,
    trace=st.lists(requests, min_size=1, max_size=25).map(with_keys),
    layout=st.lists(role_sets, min_size=NUM_INSTANCES, max_size=NUM_INSTANCES),
    traits=st.sampled_from(TRAITS),
    failures=st.lists(
        st.builds(Failure, moments, st.integers(0, NUM_INSTANCES - 1),
                  st.sampled_from([0.0, 0.05, 1.0])),
        max_size=6,
    ),
    moves=st.lists(st.tuples(moments, st.integers(0, NUM_INSTANCES - 1), role_sets), max_size=10),
)  # fmt: skip


class Recorder(Metrics):
    """Keeps the jobs that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self.end_s: dict[int, float] = {}

    def ended(self, job: Job, now_s: float) -> None:
        super().ended(job, now_s)
        self.jobs.append(job)
        self.end_s[job.key] = now_s


def run(schedule: Schedule) -> tuple[Simulation, Recorder, SomeLayout]:
    """In the end every instance takes every role, so that everything can finish."""
    policy = SomeLayout(*schedule.layout, traits=schedule.traits)
    recorder = Recorder()
    simulation = Simulation(
        policy, MODEL, Options(NUM_INSTANCES, noise_sigma=0.05), metrics=recorder,
        failures=schedule.failures,
    )  # fmt: skip

    def move(index: int, roles: frozenset[Role]) -> None:
        simulation.changes.begin(RoleMove(simulation.instances[index], ALL, roles))

    for at_s, index, roles in schedule.moves:
        simulation.events.at(at_s, move, index, roles)
    for index in range(NUM_INSTANCES):
        for again_s in (50.0, 100.0):
            simulation.events.at(again_s, move, index, of(*ROLES))
    simulation.run(iter(schedule.trace))
    simulation.events.run()
    return simulation, recorder, policy


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(schedules)
def test_no_request_is_lost_or_doubled_under_failures_and_role_changes(schedule: Schedule) -> None:
    check(schedule)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(schedules)
def test_nor_is_one_in_thousands_of_schedules(schedule: Schedule) -> None:
    check(schedule)


def check(schedule: Schedule) -> None:
    """All invariants of this module."""
    simulation, recorder, policy = run(schedule)
    keys = [job.key for job in recorder.jobs]
    assert sorted(keys) == list(range(len(schedule.trace)))
    assert recorder.num_arrived == sum(recorder.num_ended.values()) == len(schedule.trace)
    assert not simulation.pipeline.in_system
    assert not simulation.pipeline.parked

    for job in recorder.jobs:
        first_s, end_s = job.first_token_s, recorder.end_s[job.key]
        assert end_s >= job.request.arrival_s
        if job.state == "finished":
            assert first_s is not None
            assert job.request.arrival_s <= first_s <= end_s
            assert job.generated_tokens == job.request.output_tokens
        else:
            assert first_s is None
    assert recorder.num_first_tokens == recorder.num_ended["finished"]

    for instance in simulation.instances:
        assert instance.kv_used_tokens == 0
        assert instance.empty
    assert all(abs(load) < 1e-6 for load in policy._load.values())


@settings(max_examples=30, deadline=None)
@given(schedules)
def test_the_same_schedule_runs_the_same_way_twice(schedule: Schedule) -> None:
    first, second = run(schedule)[1], run(schedule)[1]
    assert first.end_s == second.end_s
    assert first.timeline == second.timeline


def test_a_failure_while_decoding_costs_time_but_no_token() -> None:
    trace = [TraceRequest(0.0, 100, 50)]
    calm = Schedule(trace, [of(*ROLES)] * NUM_INSTANCES, DISAGGREGATED, [], [])
    _, undisturbed, _ = run(calm)
    hit = [Failure(0.4, index, 0.01) for index in range(NUM_INSTANCES)]
    _, disturbed, _ = run(Schedule(trace, calm.layout, DISAGGREGATED, hit, []))
    assert disturbed.num_ended["finished"] == 1
    assert disturbed.jobs[0].generated_tokens == 50
    assert disturbed.end_s[0] > undisturbed.end_s[0]
    assert disturbed.jobs[0].first_token_s == undisturbed.jobs[0].first_token_s
