from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.simulator.caches import (
    LruCache,
    cached_prefix_tokens,
    prefix_blocks,
    remember_prefix,
)
from saccade.scheduler.simulator.workloads.base import TraceRequest


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 6))), st.integers(1, 12))
def test_a_cache_never_holds_more_than_it_may_and_drops_the_oldest(
    puts: list[tuple[int, int]], capacity: int
) -> None:
    cache, model = LruCache(capacity), OrderedDict[int, int]()
    for key, tokens in puts:
        gone = cache.put(key, tokens)
        expected = []
        if tokens > capacity:
            expected = [key]
        elif key in model:
            model.move_to_end(key)
        else:
            model[key] = tokens
            while sum(model.values()) > capacity:
                expected.append(model.popitem(last=False)[0])
        assert gone == expected
        assert cache.used_tokens == sum(model.values()) <= capacity
        assert all(key in cache for key in model)


def test_recorded_blocks_are_shared_as_far_as_they_are_equal() -> None:
    cache = LruCache(10_000)
    first = TraceRequest(0, 1600, 1, prefix_keys=(1, 2, 3), prefix_block_tokens=512)
    second = TraceRequest(0, 1600, 1, prefix_keys=(1, 2, 9), prefix_block_tokens=512)
    assert cached_prefix_tokens(cache, first) == 0
    remember_prefix(cache, first)
    assert cached_prefix_tokens(cache, first) == 1536
    assert cached_prefix_tokens(cache, second) == 1024


def test_the_last_token_of_a_prompt_is_never_cached() -> None:
    request = TraceRequest(0, 1024, 1, prefix_keys=(1, 2), prefix_block_tokens=512)
    assert prefix_blocks(request) == ((1, 512),)


def test_a_picture_that_comes_again_first_brings_its_kv() -> None:
    cache = LruCache(10_000)
    remember_prefix(cache, TraceRequest(0, 10, 1, (300, 200), (7, 8)))
    assert cached_prefix_tokens(cache, TraceRequest(0, 50, 1, (300,), (7,))) == 300
    assert cached_prefix_tokens(cache, TraceRequest(0, 50, 1, (200,), (8,))) == 0
