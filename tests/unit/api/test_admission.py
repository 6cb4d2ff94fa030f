import asyncio

import pytest
from prometheus_client import CollectorRegistry

from saccade.serving.api.admission import Admission
from saccade.serving.config.api import ApiConfig
from saccade.serving.errors import OverloadedError
from saccade.serving.gateway.metrics import GatewayMetrics


class Crowd:
    """Requests at one admission; each holds its room until it is let go."""

    def __init__(
        self, *, max_running: int = 2, max_queued: int = 16, queue_timeout_s: float = 600.0
    ) -> None:
        config = ApiConfig(
            max_running=max_running,
            max_choices=1,
            max_queued=max_queued,
            queue_timeout_s=queue_timeout_s,
        )
        self.metrics = GatewayMetrics(CollectorRegistry())
        self.admission = Admission(config, self.metrics)
        self.inside: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}

    async def arrive(self, name: str, weight: int = 1) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._stay(name, weight))
        await settled()
        return task

    async def leave(self, name: str) -> None:
        self._leave[name].set()
        await settled()

    async def _stay(self, name: str, weight: int) -> None:
        self._leave[name] = asyncio.Event()
        async with self.admission.slot(weight):
            self.inside.append(name)
            try:
                await self._leave[name].wait()
            finally:
                self.inside.remove(name)

    def gauge(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"saccade_requests_{name}")


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_there_is_room_up_to_the_limit() -> None:
    crowd = Crowd(max_running=2)
    for name in "abc":
        await crowd.arrive(name)
    assert crowd.inside == ["a", "b"]
    assert crowd.admission.running == 2


async def test_who_waits_longest_is_admitted_first() -> None:
    crowd = Crowd(max_running=1)
    for name in "abc":
        await crowd.arrive(name)
    await crowd.leave("a")
    assert crowd.inside == ["b"]
    await crowd.leave("b")
    assert crowd.inside == ["c"]


async def test_a_light_request_does_not_overtake_a_heavy_one() -> None:
    crowd = Crowd(max_running=3)
    await crowd.arrive("a", 2)
    await crowd.arrive("heavy", 2)
    await crowd.arrive("light", 1)
    assert crowd.inside == ["a"]
    await crowd.leave("a")
    assert crowd.inside == ["heavy", "light"]


async def test_a_heavy_request_waits_until_all_its_answers_fit() -> None:
    crowd = Crowd(max_running=3)
    await crowd.arrive("a")
    await crowd.arrive("b")
    await crowd.arrive("heavy", 3)
    await crowd.leave("a")
    assert crowd.inside == ["b"]
    await crowd.leave("b")
    assert crowd.inside == ["heavy"]
    assert crowd.admission.running == 3


async def test_a_full_queue_refuses_at_once() -> None:
    crowd = Crowd(max_running=1, max_queued=1)
    await crowd.arrive("a")
    await crowd.arrive("b")
    with pytest.raises(OverloadedError, match="queue is full") as caught:
        await (await crowd.arrive("c"))
    assert caught.value.status == 503
    assert caught.value.retry_after_s > 0


async def test_without_a_queue_there_is_room_or_there_is_not() -> None:
    crowd = Crowd(max_running=1, max_queued=0)
    await crowd.arrive("a")
    with pytest.raises(OverloadedError):
        await (await crowd.arrive("b"))
    await crowd.leave("a")
    await crowd.arrive("c")
    assert crowd.inside == ["c"]


async def test_the_wait_is_bounded() -> None:
    crowd = Crowd(max_running=1, queue_timeout_s=0.001)
    await crowd.arrive("a")
    with pytest.raises(OverloadedError, match=r"no room after 0\.001 s"):
        await (await crowd.arrive("b"))
    assert crowd.gauge("queued") == 0
    assert crowd.inside == ["a"]


async def test_who_gives_up_waiting_lets_others_pass() -> None:
    crowd = Crowd(max_running=2)
    await crowd.arrive("a")
    heavy = await crowd.arrive("heavy", 2)
    await crowd.arrive("light", 1)
    heavy.cancel()
    await settled()
    assert crowd.inside == ["a", "light"]


async def test_a_waiter_who_is_cancelled_takes_no_room() -> None:
    crowd = Crowd(max_running=1)
    await crowd.arrive("a")
    gone = await crowd.arrive("b")
    gone.cancel()
    await crowd.leave("a")
    assert gone.cancelled()
    assert crowd.admission.running == 0


async def test_who_is_cancelled_in_the_moment_of_being_admitted_gives_the_room_back() -> None:
    crowd = Crowd(max_running=1)
    async with crowd.admission.slot(1):
        gone = await crowd.arrive("b")
        await crowd.arrive("c")
    # Room is given to b, whose task has not run since.
    assert (crowd.admission.running, crowd.inside) == (1, [])
    gone.cancel()
    await settled()
    assert crowd.inside == ["c"]
    assert crowd.admission.running == 1


async def test_closing_in_the_moment_of_a_cancellation_loses_no_room() -> None:
    crowd = Crowd(max_running=1)
    async with crowd.admission.slot(1):
        gone = await crowd.arrive("b")
        gone.cancel()
        crowd.admission.close()
    await settled()
    assert gone.done()
    assert crowd.admission.running == 0


async def test_an_error_while_working_gives_the_room_back() -> None:
    crowd = Crowd()
    with pytest.raises(ValueError, match="broken"):
        async with crowd.admission.slot(2):
            raise ValueError("broken")
    assert crowd.admission.running == 0


async def test_closing_refuses_who_waits_and_who_comes_but_not_who_is_inside() -> None:
    crowd = Crowd(max_running=1)
    inside = await crowd.arrive("a")
    waiting = await crowd.arrive("b")
    crowd.admission.close()
    late = await crowd.arrive("c")
    for refused in (waiting, late):
        with pytest.raises(OverloadedError, match="shutting down"):
            await refused
    assert crowd.inside == ["a"]
    await crowd.leave("a")
    await inside
    assert crowd.admission.running == 0


async def test_idle_comes_when_the_last_one_leaves() -> None:
    crowd = Crowd()
    await crowd.admission.idle()
    await crowd.arrive("a")
    await crowd.arrive("b")
    idle = asyncio.create_task(crowd.admission.idle())
    await crowd.leave("a")
    assert not idle.done()
    await crowd.leave("b")
    assert idle.done()


async def test_the_gauges_tell_who_runs_and_who_waits() -> None:
    crowd = Crowd(max_running=2)
    for name in "abc":
        await crowd.arrive(name)
    assert (crowd.gauge("running"), crowd.gauge("queued")) == (2, 1)
    for name in "abc":
        await crowd.leave(name)
    assert (crowd.gauge("running"), crowd.gauge("queued")) == (0, 0)
