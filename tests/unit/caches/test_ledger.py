"""The books of a tier, against a reference that looks at every entry each time."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.serving.caches.eviction import Entry, EvictionName, eviction
from saccade.serving.caches.ledger import Ledger

BUDGET = 100

keys = st.sampled_from("abcdefgh")
actions = st.one_of(
    st.tuples(
        st.just("add"), keys, st.integers(1, BUDGET), st.sampled_from([0.0, 1.0, 2.5, 300.0])
    ),
    st.tuples(st.just("use"), keys),
    st.tuples(st.just("remove"), keys),
)
policies = st.sampled_from(["gdsf", "lru"])


@dataclass
class Reference:
    """Slow and obvious: a list, oldest use first, with the priorities as the paper has them."""

    policy: EvictionName
    inflation: float = 0.0
    rows: list[tuple[Entry, int, float]] = field(default_factory=list)
    """Entry, uses, and priority at its latest use."""

    def take(self, key: str) -> tuple[Entry, int] | None:
        for index, (entry, uses, _) in enumerate(self.rows):
            if entry.key == key:
                del self.rows[index]
                return entry, uses
        return None

    def append(self, entry: Entry, uses: int) -> None:
        worth = uses * entry.cost_ms / entry.num_bytes if self.policy == "gdsf" else 0.0
        self.rows.append((entry, uses, self.inflation + worth))

    def add(self, entry: Entry) -> list[str]:
        self.take(entry.key)
        evicted = []
        while sum(one.num_bytes for one, _, _ in self.rows) + entry.num_bytes > BUDGET:
            lowest = min(priority for _, _, priority in self.rows)
            gone = next(row for row in self.rows if row[2] == lowest)
            self.rows.remove(gone)
            if self.policy == "gdsf":
                self.inflation = lowest
            evicted.append(gone[0].key)
        self.append(entry, 1)
        return evicted

    def use(self, key: str) -> None:
        if found := self.take(key):
            self.append(found[0], found[1] + 1)


@given(policies, st.lists(actions, max_size=60))
def test_every_step_is_that_of_the_reference_and_within_the_budget(
    policy: EvictionName, steps: list[tuple[object, ...]]
) -> None:
    ledger, reference = Ledger(BUDGET, eviction(policy)), Reference(policy)
    for step in steps:
        match step:
            case ("add", str(key), int(num_bytes), float(cost_ms)):
                entry = Entry(key, num_bytes, cost_ms)
                assert [one.key for one in ledger.add(entry)] == reference.add(entry)
            case ("use", str(key)):
                assert (ledger.use(key) is None) == (key not in ledger)
                reference.use(key)
            case ("remove", str(key)):
                ledger.remove(key)
                reference.take(key)
        held = {entry for entry, _, _ in reference.rows}
        assert set(ledger) == held
        assert ledger.num_bytes == sum(entry.num_bytes for entry in held) <= BUDGET


def test_what_is_dear_for_its_size_stays() -> None:
    ledger = Ledger(100, eviction("gdsf"))
    ledger.add(Entry("dear", 50, cost_ms=500))
    ledger.add(Entry("cheap", 50, cost_ms=5))
    assert [entry.key for entry in ledger.add(Entry("new", 40, cost_ms=40))] == ["cheap"]


def test_what_was_dear_and_popular_long_ago_goes_in_the_end() -> None:
    ledger = Ledger(100, eviction("gdsf"))
    ledger.add(Entry("old", 50, cost_ms=500))
    for _ in range(10):
        ledger.use("old")
    for number in range(1000):
        ledger.add(Entry(str(number), 50, cost_ms=50))
    assert "old" not in ledger


def test_the_least_recently_used_goes_whatever_it_cost() -> None:
    ledger = Ledger(100, eviction("lru"))
    ledger.add(Entry("dear", 50, cost_ms=500))
    ledger.add(Entry("cheap", 50, cost_ms=5))
    assert [entry.key for entry in ledger.add(Entry("new", 40, cost_ms=40))] == ["dear"]


def test_what_is_larger_than_the_budget_is_refused_and_nothing_goes_for_it() -> None:
    ledger = Ledger(100, eviction("gdsf"))
    ledger.add(Entry("a", 100, 1.0))
    assert not ledger.fits(101)
    with pytest.raises(ValueError, match="101 bytes"):
        ledger.add(Entry("b", 101, 1.0))
    assert "a" in ledger


def test_a_thing_that_is_used_all_the_time_does_not_fill_the_books() -> None:
    ledger = Ledger(100, eviction("gdsf"))
    ledger.add(Entry("a", 1, 1.0))
    for _ in range(10_000):
        ledger.use("a")
    assert len(ledger._shelves[""].heap) < 100


@given(
    policies,
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.integers(0, 5), st.integers(1, BUDGET)), max_size=60
    ),
)
def test_who_has_no_more_than_an_equal_share_loses_nothing_to_others(
    policy: EvictionName, steps: list[tuple[str, int, int]]
) -> None:
    ledger = Ledger(BUDGET, eviction(policy))
    held: dict[str, Entry] = {}
    for owner, number, num_bytes in steps:
        new = Entry(f"{owner}{number}", num_bytes, 1.0, owner)
        held.pop(new.key, None)
        evicted = ledger.add(new)
        for gone in evicted:
            owners = {one.owner for one in (*held.values(), new)}
            has = sum(one.num_bytes for one in (*held.values(), new) if one.owner == gone.owner)
            share = BUDGET / len(owners)
            assert gone.owner == owner or has > share or new.num_bytes > share
            del held[gone.key]
        held[new.key] = new
        assert set(ledger) == set(held.values())
        assert ledger.num_bytes == sum(one.num_bytes for one in held.values()) <= BUDGET


def test_one_tenants_flood_leaves_anothers_few_pictures_alone() -> None:
    ledger = Ledger(100, eviction("gdsf"))
    ledger.add(Entry("mine", 20, 1.0, "quiet"))
    for number in range(1000):
        # Dearer for their size, and later, so that without shares they would all stay.
        ledger.add(Entry(str(number), 20, 500.0, "loud"))
    assert "mine" in ledger
    assert ledger.num_bytes == 100


def test_what_nobody_else_needs_may_be_used_by_one() -> None:
    ledger = Ledger(100, eviction("lru"))
    ledger.add(Entry("mine", 10, 1.0, "quiet"))
    evicted = [ledger.add(Entry(str(number), 10, 1.0, "loud")) for number in range(9)]
    assert not any(evicted)
    # And is given back to whoever comes for an equal share.
    for number in range(4):
        [gone] = ledger.add(Entry(f"more {number}", 10, 1.0, "quiet"))
        assert gone.owner == "loud"


def test_owners_who_have_nothing_left_are_forgotten() -> None:
    ledger = Ledger(100, eviction("lru"))
    for number in range(1000):
        ledger.add(Entry(str(number), 50, 1.0, f"owner {number}"))
    assert len(ledger._shelves) == 2
