import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.policy import StabilityPolicy
from saccade.scheduler.stability import NO_MOVES, Brake

POLICY = StabilityPolicy(
    min_dwell_s=5.0,
    hysteresis_ratio=0.25,
    min_gain_s=1.0,
    max_moves_per_tick_ratio=0.25,
    max_flips_per_instance_hour=2.0,
)


def test_an_instance_that_has_moved_stays_for_the_dwell_time() -> None:
    brake = Brake(POLICY, NO_MOVES, 4, 100.0)
    assert brake.has_dwelt("a")
    brake.moved("a", "g")
    memory = brake.memory({"a": None})
    assert not Brake(POLICY, memory, 4, 104.9).has_dwelt("a")
    assert Brake(POLICY, memory, 4, 105.0).has_dwelt("a")


def test_instances_that_are_gone_are_forgotten() -> None:
    brake = Brake(POLICY, NO_MOVES, 4, 100.0)
    brake.moved("a", "g")
    assert brake.memory({}).last_moved_s == {}


@pytest.mark.parametrize(
    ("gain", "cost", "worth"),
    [
        (2.0, 1.0, False),
        (2.26, 1.0, True),
        (13.4, 10.0, False),
        (13.6, 10.0, True),
        (0.9, 0.0, False),
    ],
)
def test_gain_has_to_exceed_cost_by_both_margins(gain: float, cost: float, worth: bool) -> None:
    assert Brake(POLICY, NO_MOVES, 4, 0.0).worth(gain, cost) == worth


def test_in_units_of_the_paper_the_margin_in_seconds_does_not_apply() -> None:
    assert Brake(POLICY, NO_MOVES, 4, 0.0, in_seconds=False).worth(0.002, 0.001)


def test_a_group_moves_a_part_of_itself_in_a_tick_and_one_instance_always() -> None:
    brake = Brake(POLICY, NO_MOVES, 100, 0.0)
    for name in "ab":
        assert brake.allows("g", 8)
        brake.moved(name, "g")
    assert not brake.allows("g", 8)
    assert brake.allows("other", 1)


@given(st.lists(st.floats(0.1, 900), max_size=60), st.integers(1, 5))
def test_no_hour_sees_more_moves_than_the_bound(gaps_s: list[float], num: int) -> None:
    memory, now_s, moves_s = NO_MOVES, 0.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        brake = Brake(POLICY, memory, num, now_s)
        if brake.allows("g", num):
            brake.moved("a", "g")
            moves_s.append(now_s)
        memory = brake.memory({"a": None})
    for start_s in moves_s:
        assert sum(start_s <= at_s < start_s + 3600 for at_s in moves_s) <= 2 * num


def test_who_was_given_an_instance_gives_none_before_it_has_settled() -> None:
    brake = Brake(POLICY, NO_MOVES, 4, 100.0)
    brake.received("multimodal")
    memory = brake.memory({})
    assert not Brake(POLICY, memory, 4, 109.0).has_settled("multimodal")
    assert Brake(POLICY, memory, 4, 109.0).has_settled("text")
    assert Brake(POLICY, memory, 4, 110.0).has_settled("multimodal")


def test_after_a_bad_quarter_of_an_hour_moves_flow_on() -> None:
    """Eight moves in an hour: three at once, the other five one after another."""
    memory, moved_s = NO_MOVES, []
    for now_s in range(0, 3600, 10):
        brake = Brake(POLICY, memory, 4, float(now_s))
        if brake.allows("g", 4):
            brake.moved("a", "g")
            moved_s.append(now_s)
        memory = brake.memory({"a": None})
    assert moved_s[:3] == [0, 10, 20]
    assert moved_s[3:] == pytest.approx([720, 1440, 2160, 2880], abs=10)
