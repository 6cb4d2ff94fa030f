import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.admission import Admission
from saccade.scheduler.policy import AdmissionPolicy, Budget
from saccade.scheduler.requests import Priority, RequestShape, VisualItem

POLICY = AdmissionPolicy(
    modalities=(("image", Budget(visual_tokens=10_000, num_bytes=1_000_000, pixels=5_000_000)),),
    tenants=(("guest", Budget(requests=2)),),
    any_tenant=Budget(visual_tokens=6_000),
)


def picture(
    key: str = "r",
    tokens: int = 1000,
    *,
    tenant: str = "one",
    priority: Priority = "interactive",
    deadline_s: float | None = None,
) -> RequestShape:
    item = VisualItem(key, tokens, pixels=tokens * 100, num_bytes=tokens * 10)
    return RequestShape(
        key, "image", 10, (item,), tenant=tenant, priority=priority, deadline_s=deadline_s
    )


requests = st.lists(
    st.tuples(
        st.integers(1, 9000),
        st.sampled_from(("one", "two", "guest")),
        st.sampled_from(("interactive", "standard", "batch")),
        st.booleans(),
    ),
    max_size=40,
)


@given(requests)
def test_budgets_are_never_overdrawn_but_by_what_is_alone(
    arrivals: list[tuple[int, str, Priority, bool]],
) -> None:
    admission, inside = Admission(POLICY), dict[str, RequestShape]()
    for number, (tokens, tenant, priority, ends) in enumerate(arrivals):
        request = picture(str(number), tokens, tenant=tenant, priority=priority)
        if admission.decide(request, 0.0, 0.1, float(number)).admitted:
            admission.admit(request)
            inside[request.key] = request
        for name in ("one", "two", "guest"):
            mine = [one for one in inside.values() if one.tenant == name]
            if name == "guest":
                assert len(mine) <= 2
            elif len(mine) > 1:
                assert sum(one.visual_tokens for one in mine) <= 6_000
        if len(inside) > 1:
            assert sum(one.visual_tokens for one in inside.values()) <= 10_000
        if ends and inside:
            key = next(iter(inside))
            admission.release(key, number + 0.5)
            del inside[key]


@given(requests)
def test_when_all_have_ended_nothing_is_in_flight(
    arrivals: list[tuple[int, str, Priority, bool]],
) -> None:
    admission = Admission(POLICY)
    for number, (tokens, tenant, priority, _) in enumerate(arrivals):
        admission.admit(picture(str(number), tokens, tenant=tenant, priority=priority))
    for number in range(len(arrivals)):
        admission.release(str(number), 1.0)
    assert len(admission) == 0
    assert all(not any(amount) for amount in admission.in_flight(picture("x")).values())


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_a_longer_queue_never_lets_in_what_a_shorter_one_refuses(a_s: float, b_s: float) -> None:
    admission = Admission(POLICY)
    request = picture(deadline_s=500.0)
    short, long = sorted((a_s, b_s))
    if not admission.decide(request, short, 0.1, 0.0).admitted:
        refused = admission.decide(request, long, 0.1, 0.0)
        assert not refused.admitted
        assert refused.retry_after_s is not None
        assert 1.0 <= refused.retry_after_s <= 120.0


def test_retry_after_is_the_time_in_which_the_excess_gets_free() -> None:
    admission = Admission(POLICY)
    for number in range(9):
        admission.admit(picture(f"old{number}", 1000, tenant=f"t{number}"))
    # 500 visual tokens a second get free: two of 1000 tokens within 4 s.
    admission.release("old0", 2.0)
    admission.release("old1", 4.0)
    for number in range(3):
        admission.admit(picture(f"new{number}", 1000, tenant=f"n{number}"))
    decision = admission.decide(picture("r", 3000), 0.0, 0.1, 6.0)
    assert not decision.admitted
    # 10 000 in flight and 3000 more of 10 000; 2000 were released in the 4 s since the first.
    assert decision.retry_after_s == pytest.approx(3000 * 4 / 2000)
    assert "10000 + 3000 visual_tokens of modality image in flight" in decision.record.text


def test_lower_classes_leave_room_for_higher_ones() -> None:
    admission = Admission(POLICY)
    for number in range(7):
        admission.admit(picture(f"old{number}", 1000, tenant=f"t{number}"))

    def admitted(priority: Priority) -> bool:
        request = picture("r", 1500, priority=priority)
        return admission.decide(request, 0.0, 0.1, 0.0).admitted

    assert [admitted(one) for one in ("interactive", "standard", "batch")] == [True, True, False]


def test_what_is_larger_than_a_budget_passes_when_it_is_alone() -> None:
    admission = Admission(POLICY)
    huge = picture("huge", 50_000)
    assert admission.decide(huge, 0.0, 0.1, 0.0).admitted
    admission.admit(picture("small", 1))
    assert not admission.decide(huge, 0.0, 0.1, 0.0).admitted


def test_a_queue_that_is_too_long_refuses_for_as_long_as_it_is() -> None:
    decision = Admission(AdmissionPolicy(max_wait_s=10.0)).decide(picture(), 25.0, 0.1, 0.0)
    assert decision.retry_after_s == pytest.approx(15.0)


def test_what_would_be_too_late_is_shed_unless_that_is_switched_off() -> None:
    request = picture(deadline_s=103.0)
    decision = Admission(POLICY).decide(request, 4.0, 0.5, 100.0)
    assert not decision.admitted
    assert decision.record.text.endswith("its first token would be 1.5 s too late")
    lenient = Admission(dataclasses.replace(POLICY, shed_late=False))
    assert lenient.decide(request, 4.0, 0.5, 100.0).admitted


def test_without_budgets_everybody_is_let_in() -> None:
    admission = Admission(AdmissionPolicy())
    for number in range(100):
        request = picture(str(number), 10**6)
        decision = admission.decide(request, 0.0, 1.0, 0.0)
        assert decision.admitted
        assert decision.retry_after_s is None
        admission.admit(request)


def test_a_key_is_in_flight_once() -> None:
    admission = Admission(POLICY)
    admission.admit(picture("r"))
    with pytest.raises(ValueError, match="'r' is in flight"):
        admission.admit(picture("r"))
    admission.release("r", 0.0)
    with pytest.raises(KeyError):
        admission.release("r", 0.0)


def test_the_pace_of_an_hour_ago_says_nothing_of_now() -> None:
    admission = Admission(AdmissionPolicy(any_tenant=Budget(requests=2)))
    admission.admit(picture("old"))
    admission.release("old", 0.0)
    for number in range(2):
        admission.admit(picture(f"new{number}"))
    decision = admission.decide(picture("r"), 0.0, 0.1, 3600.0)
    # Nothing got free lately, so it may ask again soon.
    assert decision.retry_after_s == 1.0
