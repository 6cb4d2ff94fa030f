"""The index against engines that lose, repeat and forget what they have to say."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from saccade.serving.caches.block_events import Batch, Cleared, Event, Removed, Stored
from saccade.serving.caches.prefix_index import InstanceBlocks, PrefixIndex

HASHES = st.integers(0, 7)


@dataclass
class Engine:
    """What vLLM's publisher does, in the plainest way: it numbers batches and keeps the latest."""

    memory: int = 100
    copies: Counter[int] = field(default_factory=Counter)
    batches: list[Batch] = field(default_factory=list)
    life: int = 0

    @property
    def held(self) -> set[int]:
        return set(+self.copies)

    def step(self, events: Iterable[Event]) -> Batch:
        for event in events:
            if isinstance(event, Stored):
                self.copies.update(event.hashes)
            elif isinstance(event, Removed):
                self.copies.subtract(event.hashes)
            else:
                self.copies.clear()
        seq = len(self.batches)
        batch = Batch(seq, hash((self.life, seq)), tuple(events))
        self.batches.append(batch)
        return batch

    def replay(self, start: int) -> list[Batch]:
        return [batch for batch in self.batches[-self.memory :] if batch.seq >= start]

    def restart(self) -> None:
        self.life += 1
        self.copies.clear()
        self.batches.clear()


def catch_up(blocks: InstanceBlocks, engine: Engine, lost: Iterable[int] = ()) -> int:
    """As the subscriber does; batches of the first replay whose place is in `lost` never arrive.

    The first always does: what is dropped is what a queue that has begun to fill has no room for.
    """
    gone = set(lost)
    for attempt in range(1, 10):
        found = engine.replay(blocks.replay_from)
        if blocks.on_replay([one for place, one in enumerate(found) if place not in gone]):
            return attempt
        gone = set()
    raise AssertionError("no replay was enough")


def events(data: st.DataObject, engine: Engine) -> list[Event]:
    """Of one step: an engine removes what it holds."""
    kind = data.draw(st.sampled_from(["store", "store", "remove", "clear"]))
    if kind == "clear":
        return [Cleared()]
    if kind == "remove" and engine.held:
        return [Removed((data.draw(st.sampled_from(sorted(engine.held))),))]
    return [Stored(tuple(data.draw(st.lists(HASHES, min_size=1, max_size=3))))]


def held(blocks: InstanceBlocks) -> set[int]:
    return {block_hash for block_hash in range(8) if block_hash in blocks}


@given(st.data())
def test_whatever_is_lost_the_index_ends_with_no_more_than_what_the_engine_holds(
    data: st.DataObject,
) -> None:
    memory = data.draw(st.integers(1, 12))
    engine = Engine(memory)
    index = PrefixIndex(100)
    blocks = index.add("llm-0")
    forgotten_by_engine = False
    for _ in range(data.draw(st.integers(0, 25))):
        fate = data.draw(st.sampled_from(["arrives", "arrives", "arrives", "lost", "restart"]))
        if fate == "restart":
            # Its endpoint is another one, so whoever follows it begins anew.
            engine.restart()
            blocks = index.add("llm-0")
            forgotten_by_engine = False
        batch = engine.step(events(data, engine))
        if fate == "arrives" and not blocks.on_batch(batch):
            catch_up(blocks, engine, data.draw(st.lists(st.integers(1, 5), max_size=2)))
        forgotten_by_engine |= len(engine.batches) > memory
        assert index.num_blocks == len(held(blocks))
    catch_up(blocks, engine)
    assert held(blocks) <= engine.held
    if not forgotten_by_engine:
        assert held(blocks) == engine.held


@given(st.data())
def test_without_losses_the_index_is_what_the_engine_holds_after_every_batch(
    data: st.DataObject,
) -> None:
    engine = Engine()
    blocks = PrefixIndex(100).add("llm-0")
    for _ in range(data.draw(st.integers(0, 25))):
        assert blocks.on_batch(engine.step(events(data, engine)))
        assert held(blocks) == engine.held
    assert blocks.num_gaps == blocks.num_rebuilds == 0


@given(st.data(), st.integers(1, 5))
def test_a_full_index_holds_its_bound_and_never_too_much(data: st.DataObject, limit: int) -> None:
    index = PrefixIndex(limit)
    engines = {name: Engine() for name in ("llm-0", "llm-1")}
    followed = {name: index.add(name) for name in engines}
    for _ in range(data.draw(st.integers(0, 25))):
        name = data.draw(st.sampled_from(sorted(engines)))
        followed[name].on_batch(engines[name].step(events(data, engines[name])))
        assert index.num_blocks == sum(len(blocks) for blocks in followed.values()) <= limit
        assert held(followed[name]) <= engines[name].held
    index.drop("llm-0")
    assert index.num_blocks == len(followed["llm-1"])


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sets(HASHES)),
    st.lists(HASHES, unique=True),
)
def test_a_match_is_the_longest_beginning_that_an_instance_holds_without_a_gap(
    instances: dict[str, set[int]], prompt: list[int]
) -> None:
    index = PrefixIndex(100)
    for name, hashes in instances.items():
        index.add(name).on_batch(Batch(0, 1, (Stored(tuple(hashes)),)))
    obvious = {}
    for name, hashes in instances.items():
        for length in range(1, len(prompt) + 1):
            if set(prompt[:length]) <= hashes:
                obvious[name] = length
    assert index.match(prompt) == obvious


def test_hashes_are_not_computed_beyond_the_first_that_nobody_holds() -> None:
    index = PrefixIndex(10)
    index.add("llm-0").on_batch(Batch(0, 1, (Stored((1, 2)),)))
    prompt = iter([1, 2, 3, 4, 5])
    assert index.match(prompt) == {"llm-0": 2}
    assert list(prompt) == [4, 5]


def test_of_two_copies_one_that_goes_leaves_the_other() -> None:
    engine = Engine()
    blocks = PrefixIndex(10).add("llm-0")
    for event in (Stored((1,)), Stored((1,)), Removed((1,))):
        blocks.on_batch(engine.step([event]))
    assert 1 in blocks
    blocks.on_batch(engine.step([Removed((1,))]))
    assert 1 not in blocks


def test_a_gap_is_counted_and_filled_by_a_replay() -> None:
    engine = Engine()
    blocks = PrefixIndex(10).add("llm-0")
    blocks.on_batch(engine.step([Stored((1,))]))
    engine.step([Removed((1,)), Stored((2,))])
    late = engine.step([Stored((3,))])
    assert not blocks.on_batch(late)
    assert catch_up(blocks, engine) == 1
    assert held(blocks) == {2, 3}
    # What the replay has brought arrives once more, from the queue of the subscription.
    assert blocks.on_batch(engine.step([Stored((4,))]))
    assert (blocks.num_gaps, blocks.num_rebuilds) == (1, 0)


def test_a_publisher_that_has_forgotten_the_gap_costs_all_that_is_known() -> None:
    engine = Engine(memory=1)
    blocks = PrefixIndex(10).add("llm-0")
    blocks.on_batch(engine.step([Stored((1,))]))
    engine.step([Removed((1,))])
    assert not blocks.on_batch(engine.step([Stored((2,))]))
    catch_up(blocks, engine)
    assert held(blocks) == {2}
    assert blocks.num_rebuilds == 1


def test_an_engine_that_started_again_under_the_same_numbers_is_noticed() -> None:
    engine = Engine()
    blocks = PrefixIndex(10).add("llm-0")
    blocks.on_batch(engine.step([Stored((1,))]))
    engine.restart()
    engine.step([Stored((2,))])
    assert catch_up(blocks, engine) == 2
    assert held(blocks) == {2}
