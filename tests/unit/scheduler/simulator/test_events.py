from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.simulator.events import EventQueue


@given(st.lists(st.floats(0, 100)))
def test_events_come_in_the_order_of_time_then_of_scheduling(times: list[float]) -> None:
    events, seen = EventQueue(), list[tuple[float, int]]()
    for number, when_s in enumerate(times):
        events.at(when_s, lambda n=number: seen.append((events.now_s, n)))
    assert events.run()
    assert seen == sorted(zip(times, range(len(times)), strict=True))


def test_an_event_in_the_past_happens_now() -> None:
    events, seen = EventQueue(), list[float]()
    events.at(5.0, lambda: events.at(1.0, lambda: seen.append(events.now_s)))
    events.run()
    assert seen == [5.0]


def test_a_run_stops_at_its_limits_and_goes_on_from_there() -> None:
    events, seen = EventQueue(), list[float]()
    for when_s in (1.0, 2.0, 3.0, 4.0):
        events.at(when_s, lambda: seen.append(events.now_s))
    assert not events.run(until_s=2.0)
    assert seen == [1.0, 2.0]
    assert not events.run(max_events=1)
    assert (seen, events.next_s) == ([1.0, 2.0, 3.0], 4.0)
    assert events.run()
