import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.serving.gateway.handover import Handover, HandoverSpentError

seconds = st.floats(0.5, 1e6)


def a_handover(*, expires_at_s: float = 130.0, lease_s: float = 30.0) -> Handover:
    return Handover("prefill-0", b"params", expires_at_s, lease_s)


def test_a_hand_over_is_taken_once() -> None:
    handover = a_handover()
    assert handover.take() == b"params"
    for _ in range(2):
        with pytest.raises(HandoverSpentError, match="prefill-0"):
            handover.take()


def test_what_was_taken_is_not_yet_pulled() -> None:
    handover = a_handover()
    handover.take()
    assert not handover.pulled


@pytest.mark.parametrize(
    ("now_s", "fresh"),
    [(100.0, True), (120.0, True), (120.1, False), (130.0, False), (999.0, False)],
)
def test_a_hand_over_is_fresh_until_two_thirds_of_its_lease_are_gone(
    now_s: float, fresh: bool
) -> None:
    assert a_handover().fresh(now_s) is fresh


@given(seconds, seconds, seconds, seconds)
def test_what_is_no_longer_fresh_never_becomes_fresh_again(
    granted_s: float, lease_s: float, first_s: float, later_s: float
) -> None:
    handover = a_handover(expires_at_s=granted_s + lease_s, lease_s=lease_s)
    if not handover.fresh(first_s):
        assert not handover.fresh(first_s + later_s)


@given(seconds, seconds)
def test_nothing_is_fresh_at_the_end_of_its_lease(granted_s: float, lease_s: float) -> None:
    end_s = granted_s + lease_s
    assert not a_handover(expires_at_s=end_s, lease_s=lease_s).fresh(end_s)
