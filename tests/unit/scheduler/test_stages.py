"""Request dispatching, and the gain and cost of Eq. 2 and 3."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.changes import Changes
from saccade.scheduler.cluster import ClusterState, GroupState, InstanceState, Role, StageLoad
from saccade.scheduler.estimates import Demand, Estimator
from saccade.scheduler.layout import Layout
from saccade.scheduler.monitor import Flow
from saccade.scheduler.policy import ONE_GROUP, Policy, SloPolicy, StabilityPolicy, StagePolicy
from saccade.scheduler.stability import NO_MOVES, Brake
from saccade.scheduler.stages import Waiting, equation, prefill_batch, role_changes
from tests.unit.scheduler.worlds import COST, instance, load

PAPER = StagePolicy(
    units="per_token", migration="per_request", horizon_s=0.0, switch_back=False, penalty_weight=0.5
)
PRESENT = StagePolicy(horizon_s=0.0, switch_back=False)
PLAIN = SloPolicy(slack_weight=1.0)
"""Every second counts the same."""

# Request dispatching ------------------------------------------------------------------------------

waitings = st.lists(
    st.builds(Waiting, st.text(max_size=3), st.integers(0, 900), st.integers(1, 2000)), max_size=9
)


@given(waitings, st.integers(0, 6000), st.integers(1, 2000))
def test_a_batch_fits_into_the_free_kv(
    waiting: list[Waiting], free_kv_tokens: int, tipping_point_tokens: int
) -> None:
    batch = prefill_batch(waiting, free_kv_tokens, tipping_point_tokens)
    taken = waiting[: batch.num_requests]
    assert sum(one.kv_tokens for one in taken) == batch.kv_tokens <= free_kv_tokens
    assert sum(one.uncached_tokens for one in taken) == batch.tokens


@given(waitings, st.integers(0, 6000), st.integers(1, 2000))
def test_only_a_head_that_is_alone_exceeds_the_tipping_point(
    waiting: list[Waiting], free_kv_tokens: int, tipping_point_tokens: int
) -> None:
    batch = prefill_batch(waiting, free_kv_tokens, tipping_point_tokens)
    assert batch.num_requests <= 1 or batch.tokens <= tipping_point_tokens


@given(waitings, st.integers(0, 6000), st.integers(1, 2000))
def test_nobody_waits_without_a_reason(
    waiting: list[Waiting], free_kv_tokens: int, tipping_point_tokens: int
) -> None:
    batch = prefill_batch(waiting, free_kv_tokens, tipping_point_tokens)
    if batch.stopped_by == "empty":
        assert batch.num_requests == len(waiting)
        return
    left_out = waiting[batch.num_requests]
    too_much_kv = batch.kv_tokens + left_out.kv_tokens > free_kv_tokens
    too_long = batch.tokens + left_out.uncached_tokens > tipping_point_tokens
    assert (too_much_kv, too_long)[batch.stopped_by == "tipping point"]


def test_a_batch_is_told_in_one_line() -> None:
    batch = prefill_batch([Waiting("a", 300, 300), Waiting("b", 300, 300)], 5000, 512)
    record = batch.record("p0", 1.0)
    assert record.text == "p0: 1 requests with 300 tokens to prefill, ended by: tipping point"


# Estimates ----------------------------------------------------------------------------------------

flows = st.builds(
    Flow,
    rate_per_s=st.floats(0, 50),
    input_tokens=st.floats(10, 5000),
    output_tokens=st.floats(1, 500),
    encode_s=st.floats(0.001, 0.5),
    prefill_s=st.floats(0.001, 0.5),
    decode_s=st.floats(0.001, 0.5),
)
loads = st.builds(
    lambda num, each_s, tokens: StageLoad(
        num, num * each_s, num * tokens, num * 50, num / tokens, num / 2
    ),
    st.integers(0, 200),
    st.floats(0.001, 0.5),
    st.integers(1, 3000),
)
demands = st.builds(
    Demand,
    st.sampled_from(("encode", "prefill", "decode")),
    loads,
    flows,
    st.sampled_from((math.inf, 900_000.0, 20_000.0)),
)
stage_policies = st.builds(
    StagePolicy,
    units=st.sampled_from(("seconds", "per_token")),
    horizon_s=st.sampled_from((0.0, 10.0)),
)


@given(stage_policies, demands, st.floats(0.5, 20), st.floats(0.1, 5))
def test_more_instances_never_make_anything_slower(
    policy: StagePolicy, demand: Demand, num: float, more: float
) -> None:
    estimator = Estimator(COST, policy, PLAIN)
    before = estimator.delay_s(demand, num)
    assert estimator.delay_s(demand, num + more) <= before + 1e-9 * abs(before)


@given(stage_policies, demands, st.floats(0.5, 20))
def test_future_arrivals_only_add(policy: StagePolicy, demand: Demand, num: float) -> None:
    present = Estimator(COST, dataclasses.replace(policy, horizon_s=0.0), PLAIN)
    assert Estimator(COST, policy, PLAIN).delay_s(demand, num) >= present.delay_s(demand, num)


def test_a_queue_is_done_when_its_work_is_shared_out() -> None:
    demand = Demand("prefill", load(6, 3.0))
    # Six requests, each done after 3 s of work on two instances.
    assert Estimator(COST, PRESENT, PLAIN).delay_s(demand, 2) == pytest.approx(6 * 1.5)


def test_a_backlog_delays_those_who_come_until_it_is_gone() -> None:
    flow = Flow(rate_per_s=10, prefill_s=0.1)
    empty = Demand("prefill", StageLoad(0, 0.0), flow)
    behind = Demand("prefill", StageLoad(0, 4.0), flow)
    estimator = Estimator(COST, StagePolicy(horizon_s=10.0), PLAIN)
    # 3 instances, one busy: the backlog of 4 s goes by 2 s a second; a triangle of 2 s x 4/3 s.
    assert estimator.delay_s(behind, 3) - estimator.delay_s(empty, 3) == pytest.approx(
        10 * 0.5 * 2 * 4 / 3
    )


def test_decode_takes_what_is_left_at_the_pace_of_the_batch() -> None:
    demand = Demand("decode", StageLoad(64, 0.0, 64_000, 3200, 0.64, 32.0))
    step_s = COST.decode_step_s(32, 32_000)
    assert Estimator(COST, PRESENT, PLAIN).delay_s(demand, 2) == pytest.approx(3200 * step_s)


def test_work_without_an_instance_waits_for_ever_and_no_work_does_not() -> None:
    estimator = Estimator(COST, StagePolicy(), PLAIN)
    assert estimator.delay_s(Demand("prefill", load(1, 1.0)), 0) == math.inf
    assert estimator.delay_s(Demand("prefill"), 0) == 0


def line(encode_s: float, prefill_s: float, flow: Flow) -> list[Demand]:
    """Backlogs of work in both stages, of ten requests each."""
    return [
        Demand("encode", StageLoad(10, encode_s, 10, 0, 1.0), flow),
        Demand("prefill", StageLoad(10, prefill_s, 10, 0, 1.0), flow),
    ]


@given(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0, 20))
def test_an_instance_more_beside_the_bottleneck_gains_nothing(
    encode_s: float, prefill_s: float, rate_per_s: float
) -> None:
    flow = Flow(rate_per_s, encode_s=0.05, prefill_s=0.5)
    policy = StagePolicy(horizon_s=0.0)
    encode, prefill = line(encode_s, prefill_s, flow)
    estimator = Estimator(COST, policy, PLAIN)
    before = estimator.total_delay_s([(encode, 2), (prefill, 1)])
    after = estimator.total_delay_s([(encode, 3), (prefill, 1)])
    # What waits for encode takes ten times as long in prefill, which is slower by then.
    assert after == pytest.approx(before)


@given(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0, 20), st.floats(0.5, 3))
def test_more_instances_in_a_line_never_make_it_slower(
    encode_s: float, prefill_s: float, rate_per_s: float, more: float
) -> None:
    flow = Flow(rate_per_s, encode_s=0.2, prefill_s=0.3)
    encode, prefill = line(encode_s, prefill_s, flow)
    estimator = Estimator(COST, StagePolicy(), SloPolicy())
    before = estimator.total_delay_s([(encode, 2), (prefill, 2)])
    assert estimator.total_delay_s([(encode, 2 + more), (prefill, 2)]) <= before * (1 + 1e-9)
    assert estimator.total_delay_s([(encode, 2), (prefill, 2 + more)]) <= before * (1 + 1e-9)


def test_latency_within_what_is_promised_counts_less() -> None:
    demand = Demand("prefill", load(1, 3.0))
    slo = SloPolicy(ttft_s=1.0, slack_weight=0.1)
    # 3 s, of which 1 s is promised.
    assert Estimator(COST, PRESENT, slo).delay_s(demand, 1) == pytest.approx(0.1 + 2.0)


def test_a_stage_that_falls_behind_slowly_costs_much_within_the_horizon() -> None:
    """A tenth too small, it is a second late only after 10 s: a move has to be judged by more."""
    demand = Demand("encode", flow=Flow(rate_per_s=24, encode_s=1.1 / 24))

    def loss_s(horizon_s: float) -> float:
        estimator = Estimator(COST, StagePolicy(horizon_s=horizon_s), SloPolicy())
        return estimator.delay_s(demand, 1) - estimator.delay_s(demand, 2)

    policy = Policy()
    assert policy.stages.horizon_s >= 2 * policy.stability.min_settle_s
    assert loss_s(policy.stages.horizon_s) > 4 * loss_s(policy.stability.min_settle_s)


# Gain and cost ------------------------------------------------------------------------------------


def changes_of(policy: StagePolicy, *instances: InstanceState) -> Changes:
    """In one group, without future arrivals."""
    whole = Policy(groups=(ONE_GROUP,), stages=policy)
    state = ClusterState(
        tuple(dataclasses.replace(one, group="all") for one in instances), {"all": GroupState()}
    )
    layout = Layout(state, whole, {"all": Flow(input_tokens=1000, output_tokens=100)})
    brake = Brake(StabilityPolicy(), NO_MOVES, len(instances), 0.0)
    return Changes(layout, Estimator(COST, policy, PLAIN), brake)


def prefill_and_decode() -> tuple[InstanceState, ...]:
    """Five prompts of 1000 tokens wait on one instance; two decode ten answers of 100 each."""
    waiting = StageLoad(5, 1.0, 5000, 0, 5 / 1000)
    batch = StageLoad(10, 0.5, 10_000, 500, 10 / 100, 5.0)
    return (
        instance("e", "encode"),
        instance("p", "prefill", load={"prefill": waiting}),
        instance(
            "d0", "decode", load={"decode": batch}, kv_capacity_tokens=50_000, kv_used_tokens=10_000
        ),
        instance(
            "d1", "decode", load={"decode": batch}, kv_capacity_tokens=50_000, kv_used_tokens=9_000
        ),
    )


def test_equation_2_as_printed() -> None:
    changes = changes_of(PAPER, *prefill_and_decode())
    group = changes.layout.groups["all"]
    victim = changes.victim(group, "decode", "prefill")
    # The most unused KV slots.
    assert victim is not None
    assert victim.name == "d1"
    change = changes.within(group, victim, "prefill")
    # Sum over R_p of [T(R_p, E_p) - T(R_p, E_p + e_max)] / input_len: 5 x (1.0 - 0.5) / 1000.
    assert change.gain == pytest.approx(5 * 0.5 / 1000)
    # Sum over B_d of [M(e_max) + w L(B_d, E_d - e_max)] / output_len.
    migration_s = COST.migration_s(9_000) + COST.flip_s
    slower_s = COST.decode_step_s(20, 20_000) - COST.decode_step_s(10, 10_000)
    remaining_tokens = 50
    expected = sum((migration_s + 0.5 * remaining_tokens * slower_s) / 100 for _ in range(20))
    assert change.cost == pytest.approx(expected)


def test_equation_3_as_printed() -> None:
    waiting = StageLoad(5, 1.0, 5000, 0, 5 / 1000)
    batch = StageLoad(10, 0.5, 10_000, 500, 10 / 100, 5.0)
    changes = changes_of(
        PAPER,
        instance("e", "encode"),
        instance("p0", "prefill", load={"prefill": waiting}),
        instance("p1", "prefill"),
        instance("d", "decode", load={"decode": batch}, kv_capacity_tokens=50_000),
    )
    group = changes.layout.groups["all"]
    victim = changes.victim(group, "prefill", "decode")
    assert victim is not None
    assert victim.name == "p1"
    change = changes.within(group, victim, "decode")
    spared_s = COST.decode_step_s(10, 10_000) - COST.decode_step_s(5, 5_000)
    assert change.gain == pytest.approx(10 * 50 * spared_s / 100)
    # M of an instance without KV, and the five prompts done after 1.0 instead of 0.5 s.
    migration_s = COST.migration_s(0) + COST.flip_s
    assert change.cost == pytest.approx(5 * (migration_s + 0.5 * 0.5) / 1000)


def test_in_seconds_migration_is_charged_once_and_the_way_back_too() -> None:
    def cost(policy: StagePolicy) -> float:
        changes = changes_of(policy, *prefill_and_decode())
        group = changes.layout.groups["all"]
        return changes.migration(group, changes.layout.instances["d1"])

    moving_s = COST.migration_s(9_000) + COST.flip_s
    assert cost(PRESENT) == pytest.approx(moving_s)
    literal = dataclasses.replace(PRESENT, migration="per_request")
    assert cost(literal) == pytest.approx(20 * moving_s)
    back = dataclasses.replace(PRESENT, switch_back=True)
    assert cost(back) == pytest.approx(moving_s + COST.flip_s)


def test_nobody_is_emptied_whose_kv_the_others_cannot_hold() -> None:
    full = [
        dataclasses.replace(one, load={"decode": one.load["decode"]._replace(tokens=24_000)})
        if "decode" in one.roles
        else one
        for one in prefill_and_decode()
    ]
    changes = changes_of(PRESENT, *full)
    group = changes.layout.groups["all"]
    assert changes.within(group, changes.layout.instances["d1"], "prefill").cost == math.inf


def test_an_idle_instance_is_taken_first() -> None:
    changes = changes_of(
        PRESENT,
        instance("p0", "prefill", load={"prefill": load(1, 0.2)}),
        instance("p1", "prefill"),
        instance("d", "decode"),
    )
    victim = changes.victim(changes.layout.groups["all"], "prefill", "decode")
    assert victim is not None
    assert victim.name == "p1"


def test_small_instances_are_given_before_large_ones() -> None:
    large = dataclasses.replace(instance("p0", "prefill"), tensor_parallel_size=2)
    small = instance("p1", "prefill", load={"prefill": load(1, 0.2)})
    changes = changes_of(PRESENT, large, small, instance("d", "decode"))
    victim = changes.victim(changes.layout.groups["all"], "prefill", "decode")
    assert victim is not None
    assert victim.name == "p1"


def test_encode_is_weighed_like_the_other_stages_unless_that_is_switched_off() -> None:
    busy: dict[Role, StageLoad] = {"encode": load(20, 10.0)}
    states = (instance("e", "encode", load=busy), *(instance(f"p{i}", "prefill") for i in range(3)))

    def targets(policy: StagePolicy) -> set[Role]:
        changes = changes_of(policy, *states)
        found = role_changes(changes, changes.layout.groups["all"])
        return {role for change in found for role in change.victim.to_roles if change.net > 0}

    assert targets(PRESENT) == {"encode"}
    assert targets(dataclasses.replace(PRESENT, encode_elasticity=False)) == set()


@pytest.mark.parametrize(
    ("target", "donor", "name"),
    [
        ("prefill", "decode", "Eq. 2"),
        ("decode", "prefill", "Eq. 3"),
        ("encode", "prefill", "Eq. 2 for encode"),
    ],
)
def test_a_change_names_its_equation(target: Role, donor: Role, name: str) -> None:
    assert equation(target, donor) == name
