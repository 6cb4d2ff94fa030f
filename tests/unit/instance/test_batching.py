import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from saccade.serving.instance.batching import BatchQueue


def batches(sizes: list[int], max_size: int) -> list[list[int]]:
    """What comes out of a queue that everything is in from the beginning."""

    async def run() -> list[list[int]]:
        queue = BatchQueue[int](lambda size: size, max_size)
        for size in sizes:
            queue.put(size)
        taken: list[list[int]] = []
        while sum(map(len, taken)) < len(sizes):
            taken.append(await queue.take())
        return taken

    return asyncio.run(run())


def test_batches_are_bounded_by_size_and_not_by_number() -> None:
    assert batches([1] * 100, 100) == [[1] * 100]
    assert batches([60, 60, 40, 1, 300, 2], 100) == [[60], [60, 40], [1], [300], [2]]


@given(st.lists(st.integers(1, 50)), st.integers(1, 100))
def test_batches_keep_the_order_and_are_as_full_as_it_allows(
    sizes: list[int], max_size: int
) -> None:
    taken = batches(sizes, max_size)
    assert [size for batch in taken for size in batch] == sizes
    assert all(len(batch) == 1 or sum(batch) <= max_size for batch in taken)
    assert all(sum(batch) + after[0] > max_size for batch, after in pairwise(taken))


async def test_a_batch_waits_for_its_first_alone() -> None:
    queue = BatchQueue[int](lambda size: size, 10)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.put(3)
    assert await waiting == [3]
