"""Sweeps, searches and comparisons over runs that exist on paper."""

from pathlib import Path

import pytest

from saccade.loadtest.errors import InputFileError, PlanError
from saccade.loadtest.jsonl import SUMMARY
from saccade.loadtest.modes import compare, search, sweep
from saccade.loadtest.modes.bisection import SearchSettings, StopReason
from saccade.loadtest.modes.compare import CompareResult, Side
from saccade.loadtest.modes.comparison import Row
from saccade.loadtest.modes.measuring import read_result
from saccade.loadtest.modes.search import SearchResult, is_falling
from saccade.loadtest.modes.sweep import SweepResult, parse_values
from saccade.loadtest.plan import Plan
from saccade.loadtest.records import Modality, RunRecord
from saccade.loadtest.slo import parse_slo
from tests.unit.loadtest.some_runs import a_plan, queue_run, request, run_of

SLO = parse_slo("ttft=500ms")


class Server:
    """Carries plans out on paper, and remembers them."""

    def __init__(self, slower_ports: tuple[int, ...] = (), interrupt_at: int | None = None) -> None:
        self.plans: list[Plan] = []
        self.interrupt_at = interrupt_at
        self.slower_ports = slower_ports

    def __call__(self, plan: Plan) -> RunRecord:
        self.plans.append(plan)
        if len(self.plans) - 1 == self.interrupt_at:
            return run_of(request(), interrupted=True)
        rate = plan.offered_rate or float(plan.concurrency or 0)
        slow = any(plan.url.endswith(str(port)) for port in self.slower_ports)
        return queue_run(rate, seed=plan.seed, speed=0.5 if slow else 1.0, label=plan.label)

    @property
    def rates(self) -> list[float | None]:
        return [plan.offered_rate for plan in self.plans]


def test_a_sweep_measures_each_value_once_in_rising_order() -> None:
    server = Server()
    result, records = sweep.sweep(a_plan(slo=SLO), "rate", [4, 1, 2, 1], server)
    assert server.rates == [1, 2, 4]
    assert [point.value for point in result.points] == [1, 2, 4] == list(records)
    assert not result.interrupted


def test_an_interrupted_sweep_keeps_what_is_done_and_goes_on_with_the_rest(tmp_path: Path) -> None:
    server = Server(interrupt_at=1)
    result, _ = sweep.sweep(a_plan(slo=SLO), "rate", [1, 2, 4], server, folder=tmp_path)
    assert result.missing == (2, 4)
    assert read_result(tmp_path / sweep.FILE, SweepResult) == result

    again = Server()
    heard: list[str] = []
    result, records = sweep.sweep(
        a_plan(slo=SLO), "rate", [1, 2, 4], again, folder=tmp_path, announce=heard.append
    )
    assert again.rates == [2, 4]
    assert [point.resumed for point in result.points] == [True, False, False]
    assert heard[0] == "rate 1, 1 of 3 (measured before)"
    assert records[1] == queue_run(1)


def test_a_sweep_interrupted_at_its_first_point_says_that_all_is_missing(tmp_path: Path) -> None:
    result, _ = sweep.sweep(a_plan(), "rate", [1, 2], Server(interrupt_at=0), folder=tmp_path)
    assert result.missing == (1, 2)
    assert read_result(tmp_path / sweep.FILE, SweepResult).missing == (1, 2)


def test_another_plan_is_measured_anew_in_the_same_folder(tmp_path: Path) -> None:
    sweep.sweep(a_plan(slo=SLO), "rate", [1], Server(), folder=tmp_path)
    server = Server()
    sweep.sweep(a_plan(slo=SLO).with_seed(7), "rate", [1], server, folder=tmp_path)
    assert len(server.plans) == 1


def test_a_damaged_point_is_named(tmp_path: Path) -> None:
    result, _ = sweep.sweep(a_plan(), "rate", [1], Server(), folder=tmp_path)
    damaged = tmp_path / str(result.points[0].folder) / SUMMARY
    damaged.write_text("{")
    with pytest.raises(InputFileError, match=str(damaged)):
        sweep.sweep(a_plan(), "rate", [1], Server(), folder=tmp_path)


def test_a_sweep_of_users_makes_closed_loops_of_whole_users() -> None:
    server = Server()
    sweep.sweep(a_plan(), "concurrency", [1, 4], server)
    assert [plan.concurrency for plan in server.plans] == [1, 4]
    with pytest.raises(PlanError, match="whole number"):
        sweep.sweep(a_plan(), "concurrency", [1.5], server)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2, 4", (1, 2, 4)),
        ("1:16:x2", (1, 2, 4, 8, 16)),
        ("0.1:0.5:0.2,9", (0.1, 0.3, 0.5, 9)),
    ],
)
def test_values_to_sweep(text: str, values: tuple[float, ...]) -> None:
    assert parse_values(text) == values


@pytest.mark.parametrize("text", ["", "a", "-1", "0", "1:8:x1", "1:999999:1", "inf", "1:2:3:4"])
def test_malformed_values_to_sweep_are_refused(text: str) -> None:
    with pytest.raises(PlanError):
        parse_values(text)


def test_a_search_brackets_the_rate_that_the_queue_can_hold(tmp_path: Path) -> None:
    settings = SearchSettings(share=0.8, tolerance=0.1)
    server = Server()
    result, records = search.search(a_plan(slo=SLO), settings, server, folder=tmp_path)
    assert result.stop_reason is StopReason.RESOLVED
    assert result.best_rate is not None
    assert result.failing_rate is not None
    # The one worker saturates at 6.7 requests/s.
    assert 2 < result.best_rate < result.failing_rate <= 6.7
    assert result.failing_rate <= result.best_rate * 1.1
    assert len(records) == len(result.probes) == len(server.plans)
    assert read_result(tmp_path / search.FILE, SearchResult) == result
    for probe in result.probes:
        assert probe.attainment.value == probe.num_met / probe.num_sent
        assert probe.attainment.low is not None


def test_repetitions_at_a_rate_have_seeds_of_their_own() -> None:
    server = Server()
    search.search(a_plan(slo=SLO), SearchSettings(share=0.8), server)
    seen = [(plan.offered_rate, plan.seed) for plan in server.plans]
    assert len(set(seen)) == len(seen)
    first = dict(reversed(seen))
    assert set(first.values()) == {0}


def test_an_interrupted_search_goes_on_from_its_probes(tmp_path: Path) -> None:
    settings = SearchSettings(share=0.8, tolerance=0.2)
    whole, _ = search.search(a_plan(slo=SLO), settings, Server())
    stopped, _ = search.search(a_plan(slo=SLO), settings, Server(interrupt_at=2), folder=tmp_path)
    assert stopped.stop_reason is StopReason.INTERRUPTED
    server = Server()
    result, _ = search.search(a_plan(slo=SLO), settings, server, folder=tmp_path)
    assert result.best_rate == whole.best_rate
    assert len(server.plans) == len(whole.probes) - 2


def test_a_search_needs_an_slo_and_requests() -> None:
    with pytest.raises(PlanError, match="--slo"):
        search.search(a_plan(), SearchSettings(), Server())

    def nothing(_: Plan) -> RunRecord:
        return run_of()

    with pytest.raises(PlanError, match="no request fell into the measured window"):
        search.search(a_plan(slo=SLO), SearchSettings(), nothing)


def test_a_server_that_falls_behind_is_noticed() -> None:
    def rising(slope: float) -> RunRecord:
        return run_of(*(request(ttft_s=0.3 + slope * i, sent_s=i, index=i) for i in range(60)))

    assert is_falling(rising(0.01), SLO)
    assert not is_falling(rising(0.0), SLO)
    assert not is_falling(run_of(), SLO)


A = Side(label="one", url="http://127.0.0.1:1001")
B = Side(label="two", url="http://127.0.0.1:1002")


def test_a_comparison_takes_turns_with_the_same_requests_in_a_pair(tmp_path: Path) -> None:
    server = Server(slower_ports=(1002,))
    result, _ = compare.compare(a_plan(2, slo=SLO), (A, B), server, num_pairs=3, folder=tmp_path)
    assert [(plan.label, plan.seed) for plan in server.plans] == [
        ("one", 0),
        ("two", 0),
        ("one", 1),
        ("two", 1),
        ("one", 2),
        ("two", 2),
    ]
    assert read_result(tmp_path / compare.FILE, CompareResult) == result


def row_of(result: CompareResult, group: str, quantity: str) -> Row:
    [found] = [row for row in result.rows if (row.group, row.quantity) == (group, quantity)]
    return found


def test_a_server_half_as_fast_is_found_worse_by_its_factor() -> None:
    result, records = compare.compare(a_plan(0.3), (A, B), Server((1002,)), num_pairs=4)
    tpot = row_of(result, "all", "p50.tpot")
    assert tpot.ratio is not None
    assert tpot.ratio.value == pytest.approx(2)
    assert tpot.verdict == "worse"
    values = [r.tpot_s for run in records["A"] for r in run.measured if r.tpot_s is not None]
    assert tpot.a is not None
    assert tpot.a.value == pytest.approx(sorted(values)[len(values) // 2], rel=0.1)
    assert row_of(result, Modality.IMAGE, "p50.ttft").verdict == "worse"
    assert all(row.quantity not in ("goodput", "attainment") for row in result.rows)


def test_a_server_against_itself_shows_no_difference() -> None:
    def noisy(plan: Plan) -> RunRecord:
        return queue_run(1.0, seed=plan.seed + (100 if plan.label == "two" else 0))

    result, _ = compare.compare(a_plan(1.0, slo=SLO), (A, B), noisy, num_pairs=6)
    assert row_of(result, "all", "p50.e2e").verdict == "no difference shown"


def test_an_interruption_leaves_complete_pairs() -> None:
    result, _ = compare.compare(a_plan(1), (A, B), Server(interrupt_at=3), num_pairs=3)
    assert result.interrupted
    assert result.num_complete_pairs == 1
    assert row_of(result, "all", "p50.ttft").ratio is not None
    assert any("1 of 3 pairs" in warning for warning in result.warnings)


def test_two_servers_need_two_names() -> None:
    with pytest.raises(PlanError, match="different labels"):
        compare.compare(a_plan(), (A, A), Server())
