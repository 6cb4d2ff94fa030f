"""Eq. 1: burst tolerance, and the allocation that makes the smallest one largest."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.cluster import GroupState, Traffic
from saccade.scheduler.groups import allocate, burst_tolerance, least_tolerance, reserved
from saccade.scheduler.monitor import GroupMonitor
from saccade.scheduler.policy import Policy

needs = st.dictionaries(
    st.sampled_from(("text", "image", "video")), st.floats(0.01, 10), min_size=1, max_size=3
)


def minimum_one(need: dict[str, float]) -> dict[str, int]:
    return dict.fromkeys(need, 1)


def test_burst_tolerance_is_what_there_is_over_what_is_needed() -> None:
    assert burst_tolerance(6, 1.5) == 4.0


@given(needs, st.integers(0, 20))
def test_every_instance_is_allocated_once(need: dict[str, float], num: int) -> None:
    assert sum(allocate(num, need, minimum_one(need)).values()) == num


@given(needs, st.integers(3, 20))
def test_no_group_is_below_its_minimum(need: dict[str, float], num: int) -> None:
    assert min(allocate(num, need, minimum_one(need)).values()) >= 1


@given(needs, st.integers(3, 9))
def test_no_other_split_tolerates_more(need: dict[str, float], num: int) -> None:
    best = least_tolerance(allocate(num, need, minimum_one(need)), need)
    for sizes in itertools.product(range(1, num + 1), repeat=len(need)):
        if sum(sizes) == num:
            assert least_tolerance(dict(zip(need, sizes, strict=True)), need) <= best


@given(needs, st.integers(3, 20), st.floats(1, 5), st.data())
def test_a_group_that_needs_more_never_gets_less(
    need: dict[str, float], num: int, factor: float, data: st.DataObject
) -> None:
    group = data.draw(st.sampled_from(sorted(need)))
    more = need | {group: need[group] * factor}
    before = allocate(num, need, minimum_one(need))[group]
    assert allocate(num, more, minimum_one(need))[group] >= before


@given(needs, st.integers(3, 20))
def test_one_more_instance_takes_none_from_anybody(need: dict[str, float], num: int) -> None:
    fewer = allocate(num, need, minimum_one(need))
    more = allocate(num + 1, need, minimum_one(need))
    assert all(more[group] >= fewer[group] for group in need)


@given(needs, st.integers(3, 20))
def test_an_overloaded_group_takes_nothing_from_one_that_needs_less_than_its_share(
    need: dict[str, float], num: int
) -> None:
    kept = reserved(num, need, minimum_one(need), 1.5)
    allocation = allocate(num, need | {"greedy": 1000.0}, kept | {"greedy": 1})
    if sum(kept.values()) < num:
        assert all(allocation[group] >= kept[group] for group in need)


def test_a_group_keeps_its_need_with_a_reserve_up_to_an_equal_share() -> None:
    need = {"text": 1.2, "image": 20.0}
    assert reserved(8, need, minimum_one(need), 1.5) == {"text": 2, "image": 4}
    assert allocate(8, need, reserved(8, need, minimum_one(need), 1.5))["text"] == 2
    assert allocate(8, need, minimum_one(need))["text"] == 1


# The load monitor ---------------------------------------------------------------------------------


def watch(*num_requests: int, wait_s: float = 0.0) -> GroupMonitor:
    """A monitor after seconds with so many requests, each an instance-second of work."""
    monitor = GroupMonitor()
    for num in num_requests:
        traffic = Traffic(num, num * 500, num * 100, 0.0, num * 0.6, num * 0.4)
        state = GroupState(traffic, oldest_wait_s=wait_s)
        monitor = monitor.after(state, 1.0, Policy())
    return monitor


def test_averages_are_right_from_the_first_second_on() -> None:
    flow = watch(3).slow.flow()
    assert flow.rate_per_s == pytest.approx(3)
    assert flow.input_tokens == pytest.approx(500)
    assert flow.need == pytest.approx(3)


def test_a_steady_load_is_no_burst_and_a_jump_is_one_until_it_is_over() -> None:
    steady = [5] * 100
    assert not watch(*steady).bursting
    assert watch(*steady, 40, 40).bursting
    assert watch(*steady, *[40] * 20).bursting
    assert not watch(*steady, 40, 40, *[5] * 30).bursting


def test_a_head_of_the_queue_that_waits_is_a_burst_whatever_the_rate() -> None:
    assert watch(5, 5, wait_s=0.6).bursting
    assert not watch(5, 5, wait_s=0.4).bursting


def test_a_surge_that_hardly_needs_anything_is_no_burst() -> None:
    monitor = GroupMonitor()
    for num in [5] * 100 + [40] * 3:
        state = GroupState(Traffic(num, num * 10, num, 0.0, num * 1e-4, num * 1e-4))
        monitor = monitor.after(state, 1.0, Policy())
    assert not monitor.bursting


def test_the_flow_of_a_burst_follows_at_once() -> None:
    calm, burst = watch(*[5] * 100), watch(*[5] * 100, *[40] * 3)
    assert calm.flow.rate_per_s == pytest.approx(5)
    assert burst.flow.rate_per_s > 15
    assert burst.slow.flow().rate_per_s < 7
