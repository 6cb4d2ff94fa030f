"""From options to a plan, and from a plan to what is sent when."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from saccade.loadtest.arrivals.spec import ClosedArrivals, OpenArrivals, TraceArrivals, steady
from saccade.loadtest.errors import InputFileError, LoadTestError, PlanError
from saccade.loadtest.plan import Plan
from saccade.loadtest.schedule import Schedule, make_schedule
from saccade.loadtest.workloads.parse import WorkloadOptions, changed, parse_workload
from saccade.loadtest.workloads.presets import PRESETS
from saccade.loadtest.workloads.session import Picture
from saccade.loadtest.workloads.spec import DatasetSpec, FileSpec, MixtureSpec, TraceSpec
from saccade.loadtest.workloads.text import ApproximateText


def plan_of(workload: str = "text", **changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "url": "http://127.0.0.1:1",
        "workload": parse_workload(workload),
        "arrivals": OpenArrivals(profile=steady(10, 30)),
    }
    return Plan(**(fields | changes))


def schedule_of(workload: str = "text", **changes: Any) -> Schedule:
    return make_schedule(plan_of(workload, **changes), ApproximateText())


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_can_be_scheduled_written_and_read_again(name: str) -> None:
    plan = plan_of(name)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    schedule = make_schedule(plan, ApproximateText())
    times = [planned.at_s or 0 for planned in schedule.planned]
    assert times == sorted(times)
    assert len(times) == pytest.approx(300, rel=0.25)
    assert schedule.length_s == 30


def test_the_same_plan_sends_the_same_and_another_seed_something_else() -> None:
    one, same, other = (
        make_schedule(plan_of("mixed", seed=seed), ApproximateText()) for seed in (1, 1, 2)
    )
    assert one == same
    assert one.planned[:3] != other.planned[:3]


def test_a_higher_rate_sends_the_same_requests_closer_together() -> None:
    plan = plan_of("mixed")
    slow, fast = (make_schedule(p, ApproximateText()).planned for p in (plan, plan.with_rate(20)))
    for a, b in zip(slow, fast, strict=False):
        assert a.session == b.session
        assert b.at_s == pytest.approx((a.at_s or 0) / 2)


def test_mixtures_are_drawn_by_weight() -> None:
    schedule = schedule_of(
        "text=3,single-picture=1", arrivals=OpenArrivals(profile=steady(100, 30))
    )
    counts = Counter(planned.session.component for planned in schedule.planned)
    assert counts["single-picture"] / len(schedule.planned) == pytest.approx(0.25, abs=0.03)


def test_a_burst_comes_from_its_component_alone() -> None:
    arrivals = OpenArrivals(profile=steady(100, 50))
    schedule = schedule_of("image-burst", arrivals=arrivals)
    in_burst = Counter(p.session.component for p in schedule.planned if (p.at_s or 0) % 25 >= 20)
    outside = Counter(p.session.component for p in schedule.planned if (p.at_s or 0) % 25 < 20)
    # 5 s of 25 s are a burst, with 16 times the density for pictures.
    assert in_burst["single-picture"] / 5 == pytest.approx(
        16 * outside["single-picture"] / 20, rel=0.25
    )
    assert in_burst["text"] / 5 == pytest.approx(outside["text"] / 20, rel=0.1)
    assert len(schedule.planned) == pytest.approx(5000, rel=0.06)


def test_repeated_pictures_are_the_same_picture() -> None:
    schedule = schedule_of("repeated-picture", arrivals=OpenArrivals(profile=steady(100, 30)))
    pictures = [planned.session.turns[0].media[0] for planned in schedule.planned]
    repeats = sum(p in pictures[:i] for i, p in enumerate(pictures[:1000]))
    assert repeats / 1000 == pytest.approx(0.8, abs=0.05)


def test_a_number_of_requests_ends_the_schedule() -> None:
    schedule = schedule_of(num_requests=20)
    assert len(schedule.planned) == 20
    assert schedule.length_s is not None
    last = schedule.planned[-1].at_s or 0
    assert last < schedule.length_s == pytest.approx(last * 20 / 19)


def test_a_closed_loop_has_sessions_without_times() -> None:
    schedule = schedule_of(arrivals=ClosedArrivals(concurrency=2), num_requests=9)
    assert [planned.at_s for planned in schedule.planned] == [None] * 9
    assert schedule.length_s is None


def test_a_recording_comes_as_fast_as_wanted_and_is_cut_at_the_duration(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    lines = [f'{{"prompt": "x", "timestamp": {t}}}' for t in (0, 1, 4, 8)]
    path.write_text("\n".join(lines))
    schedule = schedule_of(str(path), arrivals=TraceArrivals(speed=2), duration_s=3)
    assert [planned.at_s for planned in schedule.planned] == [0, 0.5, 2]
    path.write_text('{"prompt": "x"}')
    with pytest.raises(PlanError, match="does not say when"):
        schedule_of(str(path), arrivals=TraceArrivals())
    path.write_text("")
    with pytest.raises(PlanError, match="sends nothing"):
        schedule_of(str(path), arrivals=TraceArrivals())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"url": "127.0.0.1:8000"}, "must begin with http"),
        ({"arrivals": TraceArrivals()}, "no recorded times"),
        ({"arrivals": ClosedArrivals(concurrency=1)}, "needs a duration or a number"),
        ({"warmup_s": 20, "cooldown_s": 10}, "leave nothing"),
        (
            {
                "workload": "image-burst",
                "arrivals": ClosedArrivals(concurrency=1),
                "duration_s": 5,
            },
            "rhythm",
        ),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        plan_of(**changes)


def test_plans_change_only_in_what_they_are_told_to() -> None:
    plan = plan_of(warmup_s=2, cooldown_s=1)
    assert plan.with_rate(4).offered_rate == pytest.approx(4)
    assert plan.with_concurrency(3).concurrency == 3
    assert plan.with_concurrency(3).schedule_s == 30
    assert plan.with_duration(60).schedule_s == pytest.approx(60)
    assert plan.with_target("http://h", "B").url == "http://h"
    with pytest.raises(PlanError, match="no rate"):
        plan.with_concurrency(3).with_rate(1)
    changed_plans = [plan, plan.with_rate(4), plan.with_seed(5), plan.with_duration(60)]
    prints = {p.fingerprint() for p in changed_plans}
    assert len(prints) == 4
    assert plan.fingerprint() == plan.model_copy(update={"num_processes": 4}).fingerprint()


def test_the_url_may_be_the_one_that_openai_clients_take() -> None:
    assert plan_of(url="http://h:8000/v1/").url == "http://h:8000"


def test_workloads_are_found_by_name(tmp_path: Path) -> None:
    jsonl = tmp_path / "r.jsonl"
    jsonl.write_text("")
    assert parse_workload("text") == PRESETS["text"].workload
    assert parse_workload(str(jsonl)) == FileSpec(path=jsonl)
    assert parse_workload(f"mooncake:{jsonl}") == TraceSpec(format="mooncake", path=jsonl)
    assert parse_workload("dataset:train") == DatasetSpec(split="train")


def test_a_workload_can_be_written_as_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "components:\n"
        "  - {name: chat, weight: 3, text_tokens: 'lognormal(median=50,p90=200)'}\n"
        "  - {name: look, num_pictures: 2, picture: {width: 640, repeat_ratio: 0.5}}\n"
    )
    workload = parse_workload(str(path))
    assert isinstance(workload, MixtureSpec)
    assert [c.name for c in workload.components] == ["chat", "look"]
    path.write_text("components:\n  - {name: chat, tokens: 3}\n")
    with pytest.raises(InputFileError, match=r"tokens.*not permitted"):
        parse_workload(str(path))
    path.write_text("- 1")
    with pytest.raises(InputFileError, match="mapping"):
        parse_workload(str(path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("single-pictures", "Did you mean single-picture"),
        ("nonsense", "saccade loadtest workloads"),
        ("text=0", "above 0"),
        ("text=1,text=2", "twice"),
        ("mooncake:none.jsonl", "no such file"),
        ("none.jsonl", "no such file"),
    ],
)
def test_a_workload_that_does_not_exist_is_refused_with_a_hint(text: str, problem: str) -> None:
    with pytest.raises(LoadTestError, match=problem):
        parse_workload(text)


def test_changes_apply_to_the_components_that_they_fit() -> None:
    options = WorkloadOptions(text_tokens="5", picture_size="640x480", pictures="2", turns="3")
    workload = changed(parse_workload("mixed"), options)
    assert isinstance(workload, MixtureSpec)
    schedule = make_schedule(plan_of().model_copy(update={"workload": workload}), ApproximateText())
    for planned in itertools.islice(schedule.planned, 50):
        turns = planned.session.turns
        assert [turn.text_tokens for turn in turns] == [5, 5, 5]
        sizes = [(m.width, m.height) for m in turns[0].media if isinstance(m, Picture)]
        assert sizes == ([(640, 480)] * 2 if planned.session.component != "text" else [])


@pytest.mark.parametrize(
    ("workload", "options", "problem"),
    [
        ("text", WorkloadOptions(max_text_tokens=5), "for recordings"),
        ("dataset", WorkloadOptions(turns="2"), "does not apply"),
        ("dataset", WorkloadOptions(output_tokens="uniform(1,2)"), "whole number"),
        ("single-picture", WorkloadOptions(repeat_ratio=2), "between 0 and 1"),
        ("single-picture", WorkloadOptions(picture_size="big"), "distribution"),
    ],
)
def test_changes_that_do_not_fit_are_refused(
    workload: str, options: WorkloadOptions, problem: str
) -> None:
    with pytest.raises(PlanError, match=problem):
        changed(parse_workload(workload), options)


def test_a_file_that_was_changed_makes_another_plan(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"prompt": "one"}\n')
    plan = plan_of("text").model_copy(update={"workload": FileSpec(path=path)})
    before = plan.fingerprint()
    assert plan.fingerprint() == before
    path.write_text('{"prompt": "two"}\n')
    assert plan.fingerprint() != before
