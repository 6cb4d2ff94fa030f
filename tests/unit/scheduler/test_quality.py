from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.quality import STEPS, kept_share

counts = st.integers(0, 500)
floors = st.floats(0.01, 1.0)


def test_nobody_waits_and_everything_is_kept() -> None:
    assert kept_share(0, 64, 0.1) == 1.0


def test_the_share_falls_with_the_queue() -> None:
    assert [kept_share(waiting, 64, 0.25) for waiting in (1, 16, 17, 64, 1000)] == [
        0.875, 0.875, 0.75, 0.5, 0.25,
    ]  # fmt: skip


@given(counts, counts, floors)
def test_more_that_wait_never_bring_more(queued: int, running: int, floor: float) -> None:
    assert floor <= kept_share(queued + 1, running, floor) <= kept_share(queued, running, floor)


@given(counts, counts, floors)
def test_there_are_few_different_shares(queued: int, running: int, floor: float) -> None:
    share = kept_share(queued, running, floor)
    assert share == floor or (share * STEPS).is_integer()
