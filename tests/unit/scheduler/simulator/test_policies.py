"""Every policy on the same small traffic; and what each is there to show."""

from dataclasses import replace
from itertools import pairwise

import pytest

from saccade.scheduler.cluster import ROLES
from saccade.scheduler.cost_model import cost_model_of
from saccade.scheduler.index import PlacementIndex
from saccade.scheduler.journal import (
    RecordedManager,
    manager_log,
    placement_log,
    replay_manager,
    replay_placement,
)
from saccade.scheduler.records import Call
from saccade.scheduler.simulator.burst import burst_effect
from saccade.scheduler.simulator.changes import random_failures
from saccade.scheduler.simulator.engine import Options, Simulation
from saccade.scheduler.simulator.errors import SimulatorError
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.metrics import Metrics
from saccade.scheduler.simulator.policies import NAMES, SWITCHED_NAMES, policy_named, titles
from saccade.scheduler.simulator.policies.elasticmm import ElasticMM
from saccade.scheduler.simulator.policies.layouts import divided
from saccade.scheduler.simulator.policies.static_pools import candidates
from saccade.scheduler.simulator.scenario import Outcome, Scenario, WorkloadSpec, run, simulate
from saccade.scheduler.simulator.workloads.base import FixedWorkload, TraceRequest

SHORT = WorkloadSpec("sharegpt4o", 20.0, 40.0)


PLAIN_NAMES = [name for name in NAMES if name not in SWITCHED_NAMES]


@pytest.mark.parametrize("name", SWITCHED_NAMES)
def test_every_ablation_serves_every_request(name: str) -> None:
    outcome = simulate(Scenario(name, WorkloadSpec("sharegpt4o", 20.0, 15.0)))
    assert outcome.num_finished == outcome.num_arrived > 200


@pytest.mark.parametrize("name", [*PLAIN_NAMES, "static:2,4,2"])
def test_every_policy_serves_every_request(name: str) -> None:
    outcome = simulate(Scenario(name, SHORT))
    assert outcome.num_finished == outcome.num_arrived > 600
    assert outcome.latencies["text"]["num_requests"] > 200
    assert outcome.latencies["image"]["num_requests"] > 200


@pytest.mark.parametrize("name", ["elasticmm", "epdserve", "modserve", "coupled-vllm-today",
                                  "static-equal", "elasticmm-fully-shared"])  # fmt: skip
def test_nothing_is_lost_when_instances_fail(name: str) -> None:
    scenario = Scenario(name, SHORT, failure_every_s=4.0, repair_s=2.0)
    metrics, simulation = run(scenario)
    assert metrics.num_failures > 4
    assert metrics.num_ended["finished"] == metrics.num_arrived
    assert not simulation.pipeline.in_system
    assert all(one.kv_used_tokens == 0 and one.empty for one in simulation.instances)


def test_elasticmm_books_no_load_that_it_does_not_take_back() -> None:
    policy = policy_named("elasticmm")
    model = Scenario("elasticmm", SHORT).cost_model
    failures = random_failures(8, 40.0, 3.0, 1.0, seed=1)
    simulation = Simulation(policy, model, Options(), failures=failures)
    simulation.run(SHORT.build().requests(0))
    simulation.events.run(simulation.events.now_s + 5)
    for entry in policy._placement.entries():  # type: ignore[attr-defined]
        assert not any(load.num_requests for load in entry.load.values())
        assert entry.kv_free_tokens == simulation.instances[0].kv_capacity_tokens
    assert not policy._shapes  # type: ignore[attr-defined]
    assert not policy._booked  # type: ignore[attr-defined]


class ByTenant(Metrics):
    def __init__(self) -> None:
        super().__init__()
        self.longest_s: dict[str, float] = {}

    def first_token(self, job: Job, now_s: float) -> None:
        waited_s = now_s - job.request.arrival_s
        tenant = job.request.tenant
        self.longest_s[tenant] = max(waited_s, self.longest_s.get(tenant, 0.0))


@pytest.mark.parametrize("images", [(), (4000,)])
@pytest.mark.parametrize("name", ["elasticmm", "elasticmm-no-fairness"])
def test_a_tenant_waits_behind_anothers_flood_only_without_fairness(
    name: str, images: tuple[int, ...]
) -> None:
    flood = [TraceRequest(1.0, 6000, 10, images, tenant="greedy") for _ in range(150)]
    few = [TraceRequest(2.0 + n / 2, 200, 10, images[:1], tenant="modest") for n in range(12)]
    metrics = ByTenant()
    simulation = Simulation(policy_named(name), cost_model_of("a800"), Options(8), metrics=metrics)
    simulation.run(FixedWorkload("flood", (*flood, *few)).requests(0))
    assert metrics.num_ended["finished"] == len(flood) + len(few)
    assert metrics.longest_s["greedy"] > 5
    if name == "elasticmm":
        assert metrics.longest_s["modest"] < 3
    else:
        assert metrics.longest_s["modest"] > 4


def test_admission_refuses_what_would_wait_too_long_and_nothing_without_a_queue() -> None:
    calm = simulate(Scenario("elasticmm-admission", SHORT))
    assert calm.num_rejected == 0
    flood = tuple(TraceRequest(n / 20, 30_000, 5) for n in range(1200))
    outcomes: dict[str, Metrics] = {}
    for name in ("elasticmm", "elasticmm-admission"):
        simulation = Simulation(policy_named(name), cost_model_of("a800"), Options(8))
        outcomes[name] = simulation.run(FixedWorkload("flood", flood).requests(0))
    ended = outcomes["elasticmm-admission"].num_ended
    assert ended["rejected"] > 200
    assert ended["finished"] + ended["rejected"] == len(flood)
    assert outcomes["elasticmm"].num_ended["rejected"] == 0
    longest_s = {name: found.by_modality["text"].ttft_s.largest for name, found in outcomes.items()}
    assert longest_s["elasticmm-admission"] < 45 < longest_s["elasticmm"]


def test_elasticmm_remembers_nothing_of_requests_but_what_is_cached() -> None:
    _, simulation = run(Scenario("elasticmm", SHORT, failure_every_s=10.0))
    policy = simulation.policy
    assert isinstance(policy, ElasticMM)
    assert not policy._shapes
    assert not policy._booked
    for instance in simulation.instances:
        known = policy._placement.entry(instance.name).prefix
        assert len(known) == len(instance.prefix_cache)
    held = [policy._placement.entry(one.name).prefix for one in simulation.instances]
    assert set(policy._placement.prefix_holders) == {key for keys in held for key in keys}


def test_what_elasticmm_decides_in_a_run_is_replayed_from_its_logs_bit_for_bit() -> None:
    policy = policy_named("elasticmm")
    assert isinstance(policy, ElasticMM)
    model = Scenario("elasticmm", SHORT).cost_model
    failures = random_failures(8, 20.0, 5.0, 1.0, seed=1)
    simulation = Simulation(policy, model, Options(), failures=failures)
    journal: list[Call] = []
    index = PlacementIndex(policy.settings, model, policy._placement.states(), journal)
    manager = RecordedManager(policy.settings, model)
    policy._placement, policy._manager = index, manager  # type: ignore[assignment]
    simulation.run(WorkloadSpec("sharegpt4o", 20.0, 20.0).build().requests(0))
    assert replay_manager(manager_log(policy.settings, model, manager.ticks)) >= 20
    assert replay_placement(placement_log(policy.settings, model, journal)) > 600


@pytest.mark.parametrize("num_instances", [2, 3, 4, 5, 8, 40])
def test_elasticmm_starts_with_every_stage_of_every_group_served(num_instances: int) -> None:
    layout = policy_named("elasticmm").layout(num_instances)
    assert len(layout) == num_instances
    served = {(group, role) for group, roles in layout for role in roles}
    assert served == {("multimodal", role) for role in ROLES} | {
        ("text", "prefill"),
        ("text", "decode"),
    }


def test_too_few_instances_are_told() -> None:
    for name, number in (("elasticmm", 1), ("static-equal", 4), ("static:1,1,1", 4)):
        with pytest.raises(SimulatorError, match=name):
            simulate(Scenario(name, SHORT, num_instances=number))


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(SimulatorError, match="elasticmm, "):
        policy_named("fastest")
    with pytest.raises(SimulatorError, match="such as static:2,4,2"):
        policy_named("static:8")
    assert titles().keys() == set(NAMES)


def test_instances_are_divided_in_proportion_and_none_is_left_out() -> None:
    assert divided(8, [2, 3, 1, 1, 1]) == [2, 3, 1, 1, 1]
    assert divided(8, [23, 56, 21]) == [2, 4, 2]
    for total in range(3, 60):
        parts = divided(total, [0.01, 5, 2])
        assert sum(parts) == total
        assert min(parts) >= 1


def test_static_candidates_begin_with_the_proportional_split() -> None:
    names = candidates(8, (0.23, 0.56, 0.21))
    assert names[0] == "static:2,4,2"
    assert len(names) == len(set(names)) == 21


# What they are there to show ---------------------------------------------------------------------


def outcome_of(policy: str, rate: float = 40.0, **changes: object) -> Outcome:
    spec = WorkloadSpec("sharegpt4o", rate, 60.0)
    return simulate(replace(Scenario(policy, spec), **changes))  # type: ignore[arg-type]


def p99_ttft_s(outcome: Outcome, modality: str) -> float:
    return float(outcome.latencies[modality]["ttft_s"]["p99"])


def test_static_groups_keep_text_away_from_pictures_and_coupled_engines_do_not() -> None:
    static, coupled = outcome_of("static-equal"), outcome_of("coupled-vllm-0.6.6")
    assert p99_ttft_s(static, "text") < 0.5 * p99_ttft_s(coupled, "text")


def test_a_cache_spares_the_encoder() -> None:
    full, without = outcome_of("static-equal"), outcome_of("modserve")
    assert full.utilisation["encode"] < 0.9 * without.utilisation["encode"]
    no_cache = outcome_of("elasticmm-no-cache")
    assert outcome_of("elasticmm").utilisation["encode"] < 0.9 * no_cache.utilisation["encode"]


def test_the_vllm_of_today_carries_more_than_the_one_of_the_paper() -> None:
    old, today = (outcome_of(f"coupled-vllm-{name}", 70.0) for name in ("0.6.6", "today"))
    assert p99_ttft_s(today, "image") < p99_ttft_s(old, "image")
    assert today.latencies["text"]["tpot_s"]["p99"] < old.latencies["text"]["tpot_s"]["p99"]


def test_shortest_first_helps_text_at_the_cost_of_pictures() -> None:
    fcfs, shortest = outcome_of("coupled-vllm-today", 80.0), outcome_of("shortest-first", 80.0)
    assert p99_ttft_s(shortest, "text") < p99_ttft_s(fcfs, "text")


def test_epdserve_moves_instances_to_the_longest_queue() -> None:
    spec = WorkloadSpec("image-burst", 40.0, 200.0)
    metrics, _ = run(Scenario("epdserve", spec))
    assert 1 <= metrics.num_flips <= 40


def test_modserve_never_flips_without_a_cold_start() -> None:
    spec = WorkloadSpec("antiphase", 60.0, 700.0)
    metrics, _ = run(Scenario("modserve", spec))
    assert metrics.num_flips > 0
    for index in range(8):
        changes = [one for one in metrics.timeline if one[1] == index]
        for before, after in pairwise(changes):
            if before[3] == "moving":
                assert after[0] - before[0] >= 10.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_step_burst_of_pictures_leaves_text_alone_under_groups(seed: int) -> None:
    groups, shared = (
        burst_effect(name, 30.0, 300.0, [seed]) for name in ("elasticmm", "elasticmm-fully-shared")
    )
    assert groups.text_ratio <= 1.5
    assert shared.text_ratio > groups.text_ratio


@pytest.mark.slow
@pytest.mark.parametrize("rate", [5.0, 20.0, 40.0, 60.0])
def test_a_stationary_load_keeps_flips_within_their_bound(rate: float) -> None:
    spec = WorkloadSpec("sharegpt4o", rate, 600.0)
    policy = policy_named("elasticmm")
    bound = policy.settings.stability.max_flips_per_instance_hour  # type: ignore[attr-defined]
    metrics, simulation = run(Scenario("elasticmm", spec))
    assert metrics.num_flips <= bound * len(simulation.instances)
