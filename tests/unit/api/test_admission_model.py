"""Admission against a plain model of it, under anything that clients and the clock may do."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from saccade.serving.api.admission import Admission
from saccade.serving.config.api import ApiConfig
from saccade.serving.errors import OverloadedError
from saccade.serving.gateway.metrics import GatewayMetrics

MAX_RUNNING = 4
MAX_QUEUED = 3
QUEUE_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Waiting:
    request: int
    weight: int
    until_s: float


@dataclass(slots=True)
class Model:
    """What should happen, in a few lines without tasks."""

    running: dict[int, int] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    closed: bool = False

    def arrive(self, request: int, weight: int, now_s: float) -> None:
        if self.closed or (len(self.waiting) >= MAX_QUEUED and self.waiting):
            self.refused.add(request)
        else:
            self.waiting.append(Waiting(request, weight, now_s + QUEUE_TIMEOUT_S))
            self.admit()

    def leave(self, request: int) -> None:
        self.running.pop(request, None)
        self.waiting = [waiting for waiting in self.waiting if waiting.request != request]
        self.admit()

    def expire(self, now_s: float) -> None:
        late = {waiting.request for waiting in self.waiting if waiting.until_s <= now_s}
        self.refused |= late
        self.waiting = [waiting for waiting in self.waiting if waiting.request not in late]
        self.admit()

    def close(self) -> None:
        self.closed = True
        self.refused |= {waiting.request for waiting in self.waiting}
        self.waiting = []

    def admit(self) -> None:
        while self.waiting:
            first = self.waiting[0]
            if sum(self.running.values()) + first.weight > MAX_RUNNING:
                return
            self.running[first.request] = self.waiting.pop(0).weight


class AdmissionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.loop = asyncio.new_event_loop()
        # Timers run on our clock; nothing here ever waits for the real one.
        self.loop.time = lambda: self.now_s  # type: ignore[method-assign]
        self.metrics = GatewayMetrics(CollectorRegistry())
        config = ApiConfig(
            max_running=MAX_RUNNING,
            max_choices=MAX_RUNNING,
            max_queued=MAX_QUEUED,
            queue_timeout_s=QUEUE_TIMEOUT_S,
        )
        self.admission = Admission(config, self.metrics)
        self.model = Model()
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.leave_events: dict[int, asyncio.Event] = {}
        self.inside: list[int] = []
        self.refused: set[int] = set()

    async def stay(self, request: int, weight: int) -> None:
        try:
            async with self.admission.slot(weight):
                self.inside.append(request)
                try:
                    await self.leave_events[request].wait()
                finally:
                    self.inside.remove(request)
        except OverloadedError:
            self.refused.add(request)

    def settle(self) -> None:
        async def turn() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    @rule(weight=st.integers(1, MAX_RUNNING))
    def arrive(self, weight: int) -> None:
        request = len(self.tasks)
        self.leave_events[request] = asyncio.Event()
        self.tasks[request] = self.loop.create_task(self.stay(request, weight))
        self.model.arrive(request, weight, self.now_s)
        self.settle()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(sorted(self.tasks)))
        if request in self.model.running:
            self.leave_events[request].set()
            self.model.leave(request)
            self.settle()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(sorted(self.tasks)))
        self.tasks[request].cancel()
        self.model.leave(request)
        self.settle()

    @precondition(lambda self: self.model.running and self.model.waiting)
    @rule(data=st.data())
    def cancel_a_waiter_while_room_is_given_to_it(self, data: st.DataObject) -> None:
        leaving = data.draw(st.sampled_from(sorted(self.model.running)))
        self.leave_events[leaving].set()
        waiting = self.model.waiting[0].request
        # Runs after the one that leaves, in the same turn of the loop.
        self.loop.call_soon(self.tasks[waiting].cancel)
        self.model.leave(leaving)
        self.model.leave(waiting)
        self.settle()

    @rule(seconds=st.sampled_from([1.0, QUEUE_TIMEOUT_S / 2, QUEUE_TIMEOUT_S]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.model.expire(self.now_s)
        self.settle()

    @rule()
    @precondition(lambda self: len(self.tasks) > 5)
    def close(self) -> None:
        self.admission.close()
        self.model.close()
        self.settle()

    @invariant()
    def the_limit_holds(self) -> None:
        assert 0 <= self.admission.running <= MAX_RUNNING

    @invariant()
    def it_does_what_the_model_does(self) -> None:
        assert sorted(self.inside) == sorted(self.model.running)
        assert self.admission.running == sum(self.model.running.values())
        assert self.refused == self.model.refused
        queued = self.metrics.registry.get_sample_value("saccade_requests_queued")
        assert queued == len(self.model.waiting)

    def teardown(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        self.settle()
        assert self.admission.running == 0
        self.loop.run_until_complete(self.admission.idle())
        self.loop.close()


AdmissionMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestAdmission = AdmissionMachine.TestCase
