import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.simulator import scale
from saccade.scheduler.simulator.errors import SimulatorError
from saccade.scheduler.simulator.output.as_json import as_json
from saccade.scheduler.simulator.output.html import as_html
from saccade.scheduler.simulator.output.rows import interval_text, markdown, tables
from saccade.scheduler.simulator.plan import Goal, Planner, confidence, student_t_cdf
from saccade.scheduler.simulator.runs import Interval, run_all, with_slos
from saccade.scheduler.simulator.scenario import (
    SIMULATED,
    Scenario,
    WorkloadSpec,
    light_load_slos,
    simulate,
)
from saccade.scheduler.simulator.sweep import carried, sweep

SPEC = WorkloadSpec("sharegpt4o", 15.0, 30.0)
SCENARIOS = [
    Scenario(policy, SPEC.at(rate), seed=seed, failure_every_s=10.0)
    for policy in ("elasticmm", "coupled-vllm-today")
    for rate in (10.0, 30.0)
    for seed in (0, 1)
]


@pytest.fixture(scope="module")
def report() -> tuple[str, str]:
    """JSON and page of a few runs."""
    ready = with_slos(SCENARIOS)
    outcomes = run_all(ready)
    return as_json(outcomes, ready), as_html(outcomes, ready)


def test_the_same_seeds_give_the_same_bytes_in_any_number_of_processes(
    report: tuple[str, str],
) -> None:
    ready = with_slos(SCENARIOS)
    outcomes = run_all(ready, jobs=2)
    assert (as_json(outcomes, ready), as_html(outcomes, ready)) == report


def test_progress_goes_from_nothing_to_everything() -> None:
    shares: list[float] = []
    run_all(SCENARIOS[:2], progress=lambda _, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_json_says_that_it_is_a_simulation_and_has_every_run(report: tuple[str, str]) -> None:
    content = json.loads(report[0])
    assert content["simulation"] is True
    assert content["note"] == SIMULATED
    assert len(content["runs"]) == 8
    assert [(one["policy"], one["rate"], one["num_seeds"]) for one in content["summary"]] == [
        ("elasticmm", 10.0, 2), ("elasticmm", 30.0, 2),
        ("coupled-vllm-today", 10.0, 2), ("coupled-vllm-today", 30.0, 2),
    ]  # fmt: skip
    assert set(content["settings"]["slo_of_scale_1"]) == {"text", "image"}


def test_the_page_stands_alone_and_shows_all_plots(report: tuple[str, str]) -> None:
    page = report[1]
    assert SIMULATED in page
    for shown in ("latency against rate", "roles of each instance over time under elasticmm",
                  "burst tolerance of each group over time"):  # fmt: skip
        assert f'aria-label="{shown}' in page
    for fetched in ("<script", "<link", "<img", "@import", "url(http", "src="):
        assert fetched not in page


def test_tables_have_a_row_for_each_policy_and_rate() -> None:
    outcomes = [simulate(one) for one in with_slos(SCENARIOS[:4])]
    for table in tables(outcomes):
        assert [row[:2] for row in table.rows] == [("elasticmm", "10"), ("elasticmm", "30")]
        lines = markdown(table).splitlines()
        assert len({line.count("|") for line in lines}) == 1


def test_the_slo_is_ten_times_an_empty_systems_latency() -> None:
    slos = dict(light_load_slos(Scenario("elasticmm", SPEC)))
    model = Scenario("elasticmm", SPEC).cost_model
    requests = list(SPEC.build().requests(0))[:150]
    texts = [model.prefill_s(one.input_tokens) for one in requests if one.modality == "text"]
    assert slos["text"].ttft_s == pytest.approx(10 * sum(texts) / len(texts), rel=0.01)
    assert slos["image"].ttft_s > slos["text"].ttft_s
    assert slos["text"].tpot_s == pytest.approx(10 * model.decode_step_s(1, 500), rel=0.05)


def test_attainment_grows_with_the_scale_of_the_slo() -> None:
    outcome = simulate(with_slos([Scenario("coupled-vllm-0.6.6", SPEC.at(70.0))])[0])
    shares = list(outcome.attainment.values())
    assert shares == sorted(shares)
    assert shares[0] < shares[-1] <= 1
    assert outcome.goodput_rps[5] <= outcome.num_arrived / outcome.duration_s


def test_a_trace_is_a_workload_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(
        "".join(
            json.dumps({"arrival_s": n / 4, "text_tokens": 200, "output_tokens": 20}) + "\n"
            for n in range(200)
        )
    )
    spec = WorkloadSpec(trace=path, duration_s=30.0, speed=2.0)
    outcome = simulate(with_slos([Scenario("elasticmm", spec)])[0])
    assert (outcome.workload, outcome.rate) == ("own.jsonl", 2.0)
    assert outcome.num_finished == 200


def test_unknown_hardware_is_told() -> None:
    with pytest.raises(SimulatorError, match="h200"):
        simulate(Scenario("elasticmm", SPEC, gpu="b9000"))


def test_cross_attention_models_prefill_the_text_alone() -> None:
    llama = simulate(Scenario("static-equal", SPEC, model="llama-3.2-vision-11b"))
    qwen = simulate(Scenario("static-equal", SPEC))
    assert llama.utilisation["prefill"] < 0.6 * qwen.utilisation["prefill"]


def own_trace(path: Path, *requests: Mapping[str, object]) -> WorkloadSpec:
    path.write_text("".join(json.dumps(one) + "\n" for one in requests))
    return WorkloadSpec(trace=path)


def test_a_modality_that_comes_late_in_a_trace_has_an_slo_too(tmp_path: Path) -> None:
    texts = [{"arrival_s": n / 9, "text_tokens": 80, "output_tokens": 9} for n in range(400)]
    picture = {"arrival_s": 50, "text_tokens": 80, "image_tokens": [500], "output_tokens": 9}
    spec = own_trace(tmp_path / "own.jsonl", *texts, picture)
    slos = dict(light_load_slos(Scenario("elasticmm", spec)))
    assert set(slos) == {"text", "image"}
    assert slos["image"].ttft_s > slos["text"].ttft_s


def test_answers_of_one_token_have_no_limit_between_tokens(tmp_path: Path) -> None:
    requests = [{"arrival_s": n, "text_tokens": 80, "output_tokens": 1} for n in range(20)]
    spec = own_trace(tmp_path / "own.jsonl", *requests)
    ready = with_slos([Scenario("elasticmm", spec)])
    outcomes = run_all(ready)
    assert dict(ready[0].slos)["text"].tpot_s == math.inf
    assert outcomes[0].attainment == dict.fromkeys(range(1, 6), 1.0)
    content = json.loads(as_json(outcomes, ready))
    assert content["settings"]["slo_of_scale_1"]["text"]["tpot_s"] is None
    assert "inf" not in as_html(outcomes, ready)


def test_a_single_moment_has_no_goodput(tmp_path: Path) -> None:
    spec = own_trace(
        tmp_path / "own.jsonl", {"arrival_s": 5, "text_tokens": 80, "output_tokens": 9}
    )
    outcome = simulate(with_slos([Scenario("elasticmm", spec)])[0])
    assert outcome.num_finished == 1
    assert all(math.isnan(rate) for rate in outcome.goodput_rps.values())


# Intervals, sweeps -------------------------------------------------------------------------------


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        interval = Interval.of(rng.normal(5, 2, 4).tolist())
        covered += abs(interval.mean - 5) <= interval.half_width
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_intervals_are_written_with_their_width() -> None:
    assert interval_text(Interval(12.34, 0.56), 1) == "12.3 ± 0.6"
    assert interval_text(Interval(1234.5, math.nan)) == "1,234"
    assert interval_text(Interval.of([])) == "–"


@given(
    st.lists(st.tuples(st.integers(1, 100), st.floats(0, 1)), min_size=1, unique_by=lambda p: p[0])
)
def test_what_is_carried_lies_before_the_first_failure(points: list[tuple[int, float]]) -> None:
    rate = carried([(float(one), share) for one, share in points], 0.9)
    failing = [one for one, share in points if share < 0.9]
    if not failing:
        assert rate == max(one for one, _ in points)
    else:
        good = [one for one, _ in points if one < min(failing)]
        assert max(good, default=0) <= rate <= (min(failing) if good else 0)


def test_a_sweep_has_all_policies_at_all_rates() -> None:
    base = Scenario("elasticmm", replace(SPEC, duration_s=20.0))
    found = sweep(base, ["static-equal", "coupled-vllm-today"], [5.0, 90.0], 2)
    assert {name: [*one.runs] for name, one in found.items()} == {
        "static-equal": [5.0, 90.0], "coupled-vllm-today": [5.0, 90.0],
    }  # fmt: skip
    assert 5 < found["static-equal"].capacity_rps(1).mean < 90
    assert found["static-equal"].input_latency(5.0) < found["static-equal"].input_latency(90.0)


# Plans -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "degrees", "expected"),
    [(0.0, 4, 0.5), (2.132, 4, 0.95), (-2.776, 4, 0.025), (12.706, 1, 0.975), (1.984, 100, 0.975)],
)
def test_students_t_is_what_tables_say(value: float, degrees: int, expected: float) -> None:
    assert student_t_cdf(value, degrees) == pytest.approx(expected, abs=2e-4)


def test_confidence_is_between_impossible_and_certain() -> None:
    assert confidence([0.99, 0.99, 0.99], 0.95) == 1.0
    assert confidence([0.9, 0.9], 0.95) == 0.0
    assert confidence([0.94, 0.96, 0.95], 0.95) == pytest.approx(0.5)
    assert 0.5 < confidence([0.95, 0.97, 0.96], 0.95) < 1


@pytest.fixture(scope="module")
def planner() -> Callable[[Goal], Planner]:
    base = Scenario("elasticmm", replace(SPEC, rate_per_s=20.0))
    return lambda goal: Planner(base, goal, range(2))


@pytest.mark.slow
def test_a_plan_is_the_smallest_cluster_that_holds_the_goal(
    planner: Callable[[Goal], Planner],
) -> None:
    offers = list(planner(Goal()).offers({"h100": 2.0}))
    assert {one.scheduling for one in offers} == {"elastic", "static"}
    for offer in offers:
        assert offer.attainment >= 0.95
        assert offer.cost_per_hour == 2.0 * offer.num_gpus
        if offer.scheduling == "elastic" and offer.num_gpus > 2:
            fewer = replace(
                Scenario("elasticmm", replace(SPEC, rate_per_s=20.0), gpu="h100"),
                num_instances=offer.num_gpus - 1, slos=Goal().slos(),
            )  # fmt: skip
            shares = [simulate(replace(fewer, seed=seed)).attainment[1] for seed in range(2)]
            assert sum(shares) / 2 < 0.95


def test_a_goal_out_of_reach_gets_no_offer(planner: Callable[[Goal], Planner]) -> None:
    assert list(planner(Goal(tpot_s=1e-4, max_gpus=4)).offers({"a100": 1.0})) == []


def test_the_run_at_scale_tells_its_time_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    scale.main(["--requests", "300", "--instances", "5"])
    told = capsys.readouterr().out
    assert told.startswith(SIMULATED)
    assert "300 of 300 finished" in told
    assert "MiB" in told


def test_a_trace_that_ends_early_is_measured_all_the_same(tmp_path: Path) -> None:
    trace = tmp_path / "own.jsonl"
    trace.write_text(
        "".join(
            json.dumps({"arrival_s": number / 10, "text_tokens": 80, "output_tokens": 12}) + "\n"
            for number in range(101)
        )
    )
    spec = WorkloadSpec(trace=trace, duration_s=300.0)
    assert (spec.span_s, spec.at(2.0).span_s) == (10.0, 5.0)
    outcome = simulate(with_slos([Scenario("coupled-vllm-today", spec)])[0])
    # The last four fifths.
    assert outcome.latencies["text"]["num_requests"] == 81
    assert outcome.goodput_rps[5] == pytest.approx(81 / 8)
