"""The order of waiting requests: no kind of request, and no tenant, starves behind another.

Requests that compete form *flows*: one for each tenant and modality. A flow that has had less
service than its weight gives it a right to is in deficit, and goes first. Service is counted in
seconds of the cost model, so ten texts weigh as much as one picture that takes as long. Waiting
counts as well (ageing), so what waits longer catches up, whatever its flow has had.

This is start-time fair queueing with an ageing term:

    start of a request = finish of the one before it in its flow; max(virtual time, that) when the
                         flow had nothing waiting
    finish             = start + cost / weight
    order              = start + ageing * arrival            (smallest first)

Ageing by the wait until now would add `ageing * now` on both sides of each comparison; so the
order of two requests never changes, and a heap holds it.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from saccade.scheduler.policy import FairnessPolicy
from saccade.scheduler.records import Call
from saccade.scheduler.requests import RequestShape

T = TypeVar("T")
_SWEEP_EVERY = 1024
FlowKey = tuple[str, str]
"""Tenant and modality."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T]):
    key: str
    item: T
    cost: float
    """Seconds, divided by the weight of its priority."""
    arrival_s: float


class _Flow(Generic[T]):
    """The waiting requests of one tenant and modality, in order of arrival."""

    __slots__ = ("finish", "queued_under", "start", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[_Waiting[T]] = deque()
        self.start = 0.0
        """Virtual time at which its head has a right to begin. It may have passed: what ageing gave
        to others is still owed."""
        self.finish = 0.0
        """Virtual time at which its last request that was begun is paid for."""
        self.queued_under: tuple[float, int] | None = None
        """Its valid place in the heap."""


class FairQueue(Generic[T]):
    """Waiting requests of one group. Pushing and taking are O(log flows).

    Within a flow it is first come, first served, by arrival: who was sent back keeps its place.
    Between flows, as long as two have something
    waiting, their service by weight differs by no more than one request of each, and what ageing
    adds.
    """

    def __init__(self, policy: FairnessPolicy, journal: list[Call] | None = None) -> None:
        """With `journal`, every call is appended to it, so that a log can be replayed."""
        self._policy = policy
        self._ageing = policy.ageing if policy.enabled else 0.0
        self.journal = journal
        self._flows: dict[FlowKey, _Flow[T]] = {}
        self._heap: list[tuple[float, int, FlowKey]] = []
        self._virtual_s = 0.0
        """Service by weight that whoever always waits has had."""
        self._num_pushed = 0
        self._num_popped = 0
        self._flow_of: dict[str, FlowKey] = {}

    def __len__(self) -> int:
        return len(self._flow_of)

    def __contains__(self, key: str) -> bool:
        """Whether the request of this key waits."""
        return key in self._flow_of

    def __iter__(self) -> Iterator[T]:
        """All items, flow by flow."""
        return (one.item for flow in self._flows.values() for one in flow.waiting)

    def push(self, item: T, request: RequestShape, cost_s: float) -> None:
        """Let a request wait that will take `cost_s` of the stage.

        Raises:
            ValueError: when a request of this key waits already.
        """
        if request.key in self._flow_of:
            raise ValueError(f"request {request.key!r} waits already")
        if self.journal is not None:
            self.journal.append(("push", (request, cost_s)))
        name = (request.tenant, request.modality) if self._policy.enabled else ("", "")
        cost = max(0.0, cost_s) / self._policy.weight(request.priority)
        flow = self._flows.setdefault(name, _Flow())
        place = len(flow.waiting)
        while place and flow.waiting[place - 1].arrival_s > request.arrival_s:
            place -= 1
        flow.waiting.insert(place, _Waiting(request.key, item, cost, request.arrival_s))
        self._flow_of[request.key] = name
        if len(flow.waiting) == 1:
            flow.start = max(self._virtual_s, flow.finish)
        if place == 0:
            self._enqueue(name, flow)

    def in_order(self) -> Iterator[T]:
        """Items as `pop` would give them, found one at a time; the queue stays as it is."""
        heap = [
            (*flow.queued_under, name, 0)
            for name, flow in self._flows.items()
            if flow.queued_under is not None
        ]
        heapq.heapify(heap)
        number = self._num_pushed
        start = {name: flow.start for name, flow in self._flows.items()}
        while heap:
            _, _, name, place = heapq.heappop(heap)
            waiting = self._flows[name].waiting
            yield waiting[place].item
            start[name] += waiting[place].cost
            if place + 1 < len(waiting):
                number += 1
                order = start[name] + self._ageing * waiting[place + 1].arrival_s
                heapq.heappush(heap, (order, number, name, place + 1))

    def peek(self) -> T:
        """The next item; IndexError when nothing waits."""
        return self._flows[self._next()].waiting[0].item

    def pop(self) -> T:
        """Take the next item; IndexError when nothing waits."""
        name = self._next()
        heapq.heappop(self._heap)
        flow = self._flows[name]
        head = flow.waiting.popleft()
        del self._flow_of[head.key]
        self._virtual_s = max(self._virtual_s, flow.start)
        flow.start = flow.finish = flow.start + head.cost
        flow.queued_under = None
        if flow.waiting:
            self._enqueue(name, flow)
        self._num_popped += 1
        if self._num_popped % _SWEEP_EVERY == 0:
            self._forget_old_flows()
        if self.journal is not None:
            self.journal.append(("pop", (head.key, self._virtual_s)))
        return head.item

    def remove(self, key: str) -> T:
        """Take out a request that was cancelled; KeyError when it does not wait."""
        name = self._flow_of.pop(key)
        if self.journal is not None:
            self.journal.append(("remove", (key,)))
        flow = self._flows[name]
        index = next(i for i, one in enumerate(flow.waiting) if one.key == key)
        item = flow.waiting[index].item
        del flow.waiting[index]
        if index == 0:
            flow.queued_under = None
            if flow.waiting:
                self._enqueue(name, flow)
        return item

    def _enqueue(self, name: FlowKey, flow: _Flow[T]) -> None:
        head = flow.waiting[0]
        self._num_pushed += 1
        place = (flow.start + self._ageing * head.arrival_s, self._num_pushed)
        flow.queued_under = place
        heapq.heappush(self._heap, (*place, name))

    def _forget_old_flows(self) -> None:
        """Nothing waits in them and their service is paid for: a new one counts the same."""
        self._flows = {
            name: flow
            for name, flow in self._flows.items()
            if flow.waiting or flow.finish > self._virtual_s
        }

    def _next(self) -> FlowKey:
        while self._heap:
            order, number, name = self._heap[0]
            flow = self._flows.get(name)
            if flow is not None and flow.queued_under == (order, number):
                return name
            heapq.heappop(self._heap)
        raise IndexError("nothing waits")
