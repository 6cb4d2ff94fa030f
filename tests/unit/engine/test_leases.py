"""The reader's belief about a lease against a prefilling side that really grants it."""

from dataclasses import dataclass

from hypothesis import example, given
from hypothesis import strategies as st

from saccade.serving.engine.leases import MAX_REQUESTS, LeaseBook

EXTENSION_S = 20.0
MARGIN_S = 0.5
STAMPED_S = 30.0


@dataclass(slots=True)
class Grantor:
    """Extends a lease when a heartbeat arrives before its end; as vLLM does."""

    end_s: float
    extension_s: float

    def arrive(self, at_s: float) -> None:
        if at_s < self.end_s:
            self.end_s = max(self.end_s, at_s + self.extension_s)


def book() -> LeaseBook:
    return LeaseBook(EXTENSION_S, MARGIN_S)


def end_after(*sent_s: float) -> float:
    leases = book()
    for now_s in sent_s:
        leases.heartbeat(["r"], now_s)
    return leases.end("r", STAMPED_S)


# Time to the next heartbeat, and how long that one travels.
beats = st.lists(
    st.tuples(
        st.one_of(st.floats(0.0, 1.0), st.floats(0.0, 40.0)), st.floats(0.0, MARGIN_S * 0.999)
    ),
    max_size=30,
)


@example([(29.4, 0.49), (20.0, 0.49), (0.1, 0.0)], 20.0, 30.0)
@example([(29.6, 0.45)], 20.0, 30.0)
@given(beats, st.floats(1.0, 60.0), st.floats(0.0, 60.0))
def test_nothing_is_believed_beyond_what_is_granted(
    heartbeats: list[tuple[float, float]], extension_s: float, stamped_s: float
) -> None:
    leases, grantor = LeaseBook(extension_s, MARGIN_S), Grantor(stamped_s, extension_s)
    now_s = 0.0
    arrivals = []
    for gap_s, delay_s in heartbeats:
        now_s += gap_s
        leases.heartbeat(["r"], now_s)
        arrivals.append(now_s + delay_s)
    # They may overtake each other on the way.
    for arrival_s in sorted(arrivals):
        grantor.arrive(arrival_s)
    assert leases.end("r", stamped_s) <= grantor.end_s


@given(beats, st.floats(0.0, 60.0))
def test_no_belief_is_shorter_than_what_was_stamped(
    heartbeats: list[tuple[float, float]], stamped_s: float
) -> None:
    leases = book()
    now_s = 0.0
    for gap_s, _ in heartbeats:
        now_s += gap_s
        leases.heartbeat(["r"], now_s)
    assert leases.end("r", stamped_s) >= stamped_s


def test_without_a_heartbeat_the_stamp_counts() -> None:
    assert book().end("r", STAMPED_S) == STAMPED_S


def test_a_heartbeat_in_time_extends_the_lease_from_when_it_was_sent() -> None:
    assert end_after(15.0) == 15.0 + EXTENSION_S


def test_an_early_heartbeat_does_not_shorten_the_lease() -> None:
    assert end_after(1.0) == STAMPED_S


def test_a_heartbeat_within_the_margin_before_the_end_counts_for_nothing() -> None:
    assert end_after(STAMPED_S - MARGIN_S) == STAMPED_S
    assert end_after(STAMPED_S - MARGIN_S - 0.1) == STAMPED_S - MARGIN_S - 0.1 + EXTENSION_S


def test_a_late_heartbeat_revives_nothing() -> None:
    assert end_after(STAMPED_S + 1) == STAMPED_S
    assert end_after(STAMPED_S + 1, STAMPED_S + 10) == STAMPED_S


def test_regular_heartbeats_carry_a_lease_on() -> None:
    assert end_after(10.0, 20.0, 30.0, 40.0, 50.0) == 50.0 + EXTENSION_S


def test_a_gap_between_heartbeats_ends_the_lease_for_good() -> None:
    assert end_after(10.0, 20.0, 60.0, 70.0) == 20.0 + EXTENSION_S


def test_requests_do_not_share_leases() -> None:
    leases = book()
    leases.heartbeat(["a"], 15.0)
    leases.heartbeat(["a", "b"], 25.0)
    assert leases.end("a", STAMPED_S) == 45.0
    assert leases.end("b", 20.0) == 20.0
    assert leases.end("c", 1.0) == 1.0


def test_forgotten_requests_fall_back_to_the_stamp() -> None:
    leases = book()
    leases.heartbeat(["old"], 15.0)
    leases.heartbeat([f"r{index}" for index in range(MAX_REQUESTS)], 16.0)
    assert leases.end("old", STAMPED_S) == STAMPED_S
    assert leases.end("r0", STAMPED_S) == 36.0


def test_a_request_with_fresh_heartbeats_is_not_the_one_that_is_forgotten() -> None:
    leases = book()
    leases.heartbeat(["busy"], 15.0)
    leases.heartbeat([f"r{index}" for index in range(MAX_REQUESTS - 1)], 16.0)
    leases.heartbeat(["busy"], 25.0)
    leases.heartbeat(["one more"], 26.0)
    assert leases.end("busy", STAMPED_S) == 45.0
    assert leases.end("r0", STAMPED_S) == STAMPED_S
