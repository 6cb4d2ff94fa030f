import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.fairness import FairQueue
from saccade.scheduler.policy import FairnessPolicy
from saccade.scheduler.requests import Priority, RequestShape

FAIR = FairnessPolicy(ageing=0.0)
arrivals = st.lists(
    st.tuples(
        st.sampled_from(("text", "image")),
        st.sampled_from(("one", "two", "three")),
        st.sampled_from(("interactive", "standard", "batch")),
        st.floats(0.01, 5),
    ),
    max_size=40,
)
policies = st.builds(FairnessPolicy, enabled=st.booleans(), ageing=st.sampled_from((0.0, 0.1, 5.0)))
Arrival = tuple[str, str, Priority, float]


def shape(key: int, arrival: Arrival) -> RequestShape:
    modality, tenant, priority, _ = arrival
    return RequestShape(str(key), modality, tenant=tenant, priority=priority, arrival_s=float(key))


def fill(queue: FairQueue[int], waiting: list[Arrival]) -> None:
    for key, arrival in enumerate(waiting):
        queue.push(key, shape(key, arrival), arrival[3])


def drain(queue: FairQueue[int]) -> list[int]:
    return [queue.pop() for _ in range(len(queue))]


@given(policies, arrivals)
def test_everything_that_waits_is_served_once(
    policy: FairnessPolicy, waiting: list[Arrival]
) -> None:
    queue = FairQueue[int](policy)
    fill(queue, waiting)
    assert sorted(drain(queue)) == list(range(len(waiting)))
    with pytest.raises(IndexError):
        queue.pop()


@given(policies, arrivals)
def test_a_flow_is_served_in_order_of_arrival(
    policy: FairnessPolicy, waiting: list[Arrival]
) -> None:
    queue = FairQueue[int](policy)
    fill(queue, waiting)
    order = drain(queue)
    for flow in {arrival[:2] for arrival in waiting}:
        own = [key for key in order if waiting[key][:2] == flow]
        assert own == sorted(own)


def test_what_ageing_gives_to_an_old_flood_is_given_once_and_not_for_each_request() -> None:
    """A tenant that asks for less than its half is late by what ageing gave, and not ever later."""
    queue = FairQueue[int](FairnessPolicy(ageing=0.1))
    for key in range(1000):
        queue.push(key, RequestShape(str(key), tenant="greedy", arrival_s=0.0), 1.0)
    waits_s: list[float] = []
    waiting_since: dict[int, float] = {}
    for number in range(400):
        now_s = float(number)  # a request a second is served, a third of them could be modest's
        if number % 3 == 0:
            key = 1000 + number
            queue.push(key, RequestShape(str(key), tenant="modest", arrival_s=now_s), 1.0)
            waiting_since[key] = now_s
        served = queue.pop()
        if served in waiting_since:
            waits_s.append(now_s - waiting_since[served])
    # A tenth of a second for each second that the flood is older, by weight, and one of each.
    assert max(waits_s) <= 2 * 0.1 * 400 * 2 + 3
    assert len(waits_s) > 400 / 3 - 0.1 * 400 - 3


@given(policies, arrivals, st.integers(0, 10))
def test_the_order_is_told_without_taking_anything(
    policy: FairnessPolicy, waiting: list[Arrival], num_taken: int
) -> None:
    queue = FairQueue[int](policy)
    fill(queue, waiting)
    for _ in range(min(num_taken, len(queue))):
        queue.pop()
    told = list(queue.in_order())
    assert told == drain(queue)


@given(policies, arrivals, st.randoms(use_true_random=False))
def test_who_was_sent_back_keeps_its_place_in_its_flow(
    policy: FairnessPolicy, waiting: list[Arrival], order: random.Random
) -> None:
    queue = FairQueue[int](policy)
    keys = list(range(len(waiting)))
    order.shuffle(keys)
    for key in keys:
        queue.push(key, shape(key, waiting[key]), waiting[key][3])
    served = drain(queue)
    for flow in {arrival[:2] for arrival in waiting}:
        own = [key for key in served if waiting[key][:2] == flow]
        assert own == sorted(own)


@given(arrivals, st.randoms(use_true_random=False))
def test_a_request_that_is_removed_is_not_served_and_the_others_are(
    waiting: list[Arrival], order: random.Random
) -> None:
    queue = FairQueue[int](FAIR)
    fill(queue, waiting)
    gone = {key for key in range(len(waiting)) if order.random() < 0.4}
    for key in sorted(gone, key=lambda _: order.random()):
        assert queue.remove(str(key)) == key
    assert sorted(drain(queue)) == [k for k in range(len(waiting)) if k not in gone]


@given(st.lists(st.floats(0.01, 5), min_size=30, max_size=60), st.floats(0.01, 5))
def test_text_never_waits_behind_more_pictures_than_its_share(
    pictures_s: list[float], text_s: float
) -> None:
    """Before the k-th text, pictures get at most what k texts and one picture more cost."""
    queue = FairQueue[int](FAIR)
    for key, cost_s in enumerate(pictures_s):
        queue.push(key, shape(key, ("image", "one", "standard", cost_s)), cost_s)
    texts = range(100, 110)
    for key in texts:
        queue.push(key, shape(key, ("text", "one", "standard", text_s)), text_s)
    served_s, num_texts = 0.0, 0
    for key in drain(queue):
        if key < 100:
            served_s += pictures_s[key]
        else:
            num_texts += 1
            assert served_s <= (num_texts - 1) * text_s + max(pictures_s) + 1e-9


@given(st.integers(1, 40))
def test_a_tenant_with_one_request_never_waits_for_the_whole_queue_of_another(num: int) -> None:
    queue = FairQueue[int](FAIR)
    for key in range(num):
        queue.push(key, shape(key, ("text", "greedy", "standard", 1.0)), 1.0)
    queue.push(99, shape(99, ("text", "modest", "standard", 1.0)), 1.0)
    assert drain(queue).index(99) <= 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("text", "image")),
            st.sampled_from(("one", "two", "three")),
            st.just("standard"),
            st.floats(0.01, 5),
        ),
        min_size=2,
        max_size=60,
    )
)
def test_no_two_flows_that_wait_differ_by_more_than_a_request_of_each(
    waiting: list[Arrival],
) -> None:
    """Whatever the tenants and modalities send, in seconds of service by weight."""
    queue = FairQueue[int](FAIR)
    fill(queue, waiting)
    weight = FAIR.weight("standard")
    left: dict[tuple[str, str], list[float]] = {}
    for arrival in waiting:
        left.setdefault(arrival[:2], []).append(arrival[3] / weight)
    largest = {flow: max(costs) for flow, costs in left.items()}
    served = dict.fromkeys(left, 0.0)
    while len(queue):
        flow = waiting[queue.pop()][:2]
        served[flow] += left[flow].pop(0)
        backlogged = [one for one in left if left[one]]
        for one in backlogged:
            for other in backlogged:
                assert served[one] - served[other] <= largest[one] + largest[other] + 1e-9


def test_service_by_priority_is_in_the_ratio_of_the_weights() -> None:
    queue = FairQueue[int](FAIR)
    for key in range(200):
        tenant, priority = (("one", "interactive"), ("two", "batch"))[key % 2]
        assert priority in ("interactive", "batch")
        queue.push(key, shape(key, ("text", tenant, priority, 1.0)), 1.0)  # type: ignore[arg-type]
    first = [queue.pop() for _ in range(50)]
    assert sum(key % 2 == 0 for key in first) == 40


def test_a_flow_that_was_away_has_saved_up_nothing() -> None:
    queue = FairQueue[int](FAIR)
    for key in range(50):
        queue.push(key, shape(key, ("text", "busy", "standard", 1.0)), 1.0)
    for _ in range(25):
        queue.pop()
    for key in range(50, 75):
        queue.push(key, shape(key, ("text", "back", "standard", 1.0)), 1.0)
    first = [queue.pop() for _ in range(10)]
    assert sum(key >= 50 for key in first) in (5, 6)


def test_ageing_lets_the_older_one_go_first_whatever_its_flow_has_had() -> None:
    def first(ageing: float) -> int:
        queue = FairQueue[int](FairnessPolicy(ageing=ageing))
        queue.push(0, shape(0, ("text", "one", "standard", 9.0)), 9.0)
        queue.push(1, shape(1, ("text", "one", "standard", 9.0)), 9.0)
        queue.pop()
        queue.push(50, shape(50, ("text", "two", "standard", 9.0)), 9.0)
        return queue.pop()

    assert first(0.0) == 50
    assert first(1.0) == 1


def test_switched_off_it_is_first_come_first_served() -> None:
    queue = FairQueue[int](FairnessPolicy(enabled=False))
    pictures: list[Arrival] = [("image", "one", "batch", 9.0)] * 3
    fill(queue, [*pictures, ("text", "two", "interactive", 0.1)])
    assert drain(queue) == [0, 1, 2, 3]


def test_the_same_request_cannot_wait_twice() -> None:
    queue = FairQueue[int](FAIR)
    queue.push(0, RequestShape("a"), 1.0)
    with pytest.raises(ValueError, match="'a' waits already"):
        queue.push(1, RequestShape("a"), 1.0)


def test_looking_at_the_next_one_does_not_take_it() -> None:
    queue = FairQueue[int](FAIR)
    fill(queue, [("text", "one", "standard", 1.0)])
    assert (queue.peek(), list(queue), len(queue)) == (0, [0], 1)
