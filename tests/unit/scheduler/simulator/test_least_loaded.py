from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.simulator.least_loaded import LeastLoaded

changes = st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 5)), max_size=400)


@given(changes)
def test_the_best_is_what_a_scan_finds(given_changes: list[tuple[int, int | None]]) -> None:
    index, loads = LeastLoaded(), dict[int, int]()
    for member, load in given_changes:
        if load is None:
            index.drop(member)
            loads.pop(member, None)
        else:
            index.put(member, load)
            loads[member] = load
        expected = min(loads, key=lambda one: (loads[one], one), default=None)
        assert index.best() == expected
