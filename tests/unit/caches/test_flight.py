import asyncio

import pytest

from saccade.serving.caches.flight import SingleFlight


class Work:
    """Counts how often it was begun, and how often it was cancelled."""

    def __init__(self, error: Exception | None = None) -> None:
        self.num_begun = 0
        self.num_cancelled = 0
        self.go = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.num_begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        if self._error is not None:
            raise self._error
        return 7


async def some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_thousand_at_once_are_one() -> None:
    flights, work = SingleFlight[int](), Work()
    asked = [asyncio.ensure_future(flights.run("key", work)) for _ in range(1000)]
    await some_turns()
    work.go.set()
    results = await asyncio.gather(*asked)
    assert work.num_begun == 1
    assert {result for result, _ in results} == {7}
    assert sum(joined for _, joined in results) == 999
    assert len(flights) == 0


async def test_other_keys_are_other_work_and_so_is_what_comes_later() -> None:
    flights, work = SingleFlight[int](), Work()
    work.go.set()
    await asyncio.gather(flights.run("a", work), flights.run("b", work))
    await flights.run("a", work)
    assert work.num_begun == 3


async def test_who_leaves_does_not_disturb_the_others() -> None:
    flights, work = SingleFlight[int](), Work()
    first, second = (asyncio.ensure_future(flights.run("key", work)) for _ in range(2))
    await some_turns()
    first.cancel()
    await some_turns()
    work.go.set()
    assert await second == (7, True)
    assert first.cancelled()
    assert work.num_cancelled == 0


async def test_work_that_nobody_waits_for_is_cancelled_and_begun_anew_for_the_next() -> None:
    flights, work = SingleFlight[int](), Work()
    asked = [asyncio.ensure_future(flights.run("key", work)) for _ in range(2)]
    await some_turns()
    for one in asked:
        one.cancel()
    await some_turns()
    assert work.num_cancelled == 1
    work.go.set()
    assert await flights.run("key", work) == (7, False)


async def test_an_error_is_that_of_all_who_wait_and_not_of_the_next() -> None:
    flights, work = SingleFlight[int](), Work(ValueError("broken"))
    asked = [asyncio.ensure_future(flights.run("key", work)) for _ in range(3)]
    await some_turns()
    work.go.set()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(result) for result in results] == ["broken"] * 3
    with pytest.raises(ValueError, match="broken"):
        await flights.run("key", work)
    assert work.num_begun == 2
