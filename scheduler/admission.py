"""Who is let in: bounded work in flight, by modality and tenant, known before a pixel is decoded.

A request that cannot be served soon is refused at once, with the time after which asking again
makes sense, rather than queued without bound.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from saccade.scheduler.policy import AdmissionPolicy, Budget
from saccade.scheduler.records import Call, Candidate, Fact, Record
from saccade.scheduler.requests import RequestShape

_RATE_WINDOW = 64
"""Releases from which the pace of a budget is read,"""
_RATE_WINDOW_S = 60.0
"""if they are not older than this."""


class Amount(NamedTuple):
    """What a request holds of each budget while it is in flight."""

    requests: int = 0
    visual_tokens: int = 0
    num_bytes: int = 0
    pixels: int = 0


@dataclass(frozen=True, slots=True)
class AdmissionDecision:
    """Let in, or come again in `retry_after_s` seconds."""

    admitted: bool
    retry_after_s: float | None
    record: Record


class _Account:
    """What is in flight under one budget, and how fast it gets free."""

    __slots__ = ("budget", "in_flight", "released")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.in_flight = Amount()
        self.released: deque[tuple[float, Amount]] = deque(maxlen=_RATE_WINDOW)

    def add(self, amount: Amount, sign: int) -> None:
        self.in_flight = Amount(
            *(have + sign * one for have, one in zip(self.in_flight, amount, strict=True))
        )

    def bounds(self) -> Iterator[tuple[str, int, int]]:
        """(resource, bound, in flight) of what is bounded."""
        for name, have in zip(Amount._fields, self.in_flight, strict=True):
            bound = getattr(self.budget, name)
            if bound is not None:
                yield name, bound, have

    def free_after_s(self, resource: str, excess: float, now_s: float, unknown_s: float) -> float:
        """When so much more will be free, at the pace of the latest releases."""
        index = Amount._fields.index(resource)
        while self.released and self.released[0][0] < now_s - _RATE_WINDOW_S:
            # The pace of a night says nothing of the morning.
            self.released.popleft()
        released = sum(amount[index] for _, amount in self.released)
        if not released:
            return unknown_s
        elapsed_s = max(1e-3, now_s - self.released[0][0])
        return excess * elapsed_s / released


class Admission:
    """The books of what is in flight, and the decision on each request.

    With `journal`, every call is appended to it, so that a log can be replayed.
    """

    def __init__(self, policy: AdmissionPolicy, journal: list[Call] | None = None) -> None:
        self.policy = policy
        self.journal = journal
        self._modalities = {name: _Account(budget) for name, budget in policy.modalities}
        self._tenants = {name: _Account(budget) for name, budget in policy.tenants}
        self._in_flight: dict[str, RequestShape] = {}

    def __len__(self) -> int:
        return len(self._in_flight)

    def in_flight(self, request: RequestShape) -> dict[str, Amount]:
        """What is in flight under each budget that the request falls under."""
        return {name: account.in_flight for name, account in self._accounts(request)}

    # Deciding -----------------------------------------------------------------------------------

    def decide(
        self, request: RequestShape, wait_s: float, service_s: float, now_s: float
    ) -> AdmissionDecision:
        """Judge a request; the books stay as they are.

        Args:
            wait_s: how long it would wait for its first stage, from the queues of its group.
            service_s: from then to its first token.
        """
        refusals = [
            *self._over_budget(request, now_s),
            *self._too_long(request, wait_s),
            *self._too_late(request, wait_s, service_s, now_s),
        ]
        worst = max(refusals, key=lambda one: one.cost, default=None)
        retry_after_s = None
        if worst is not None:
            low, high = self.policy.min_retry_after_s, self.policy.max_retry_after_s
            retry_after_s = min(max(worst.cost, low), high)
        facts: tuple[tuple[str, Fact], ...] = (
            ("wait_s", wait_s),
            ("service_s", service_s),
            ("retry_after_s", retry_after_s or 0.0),
            ("why", worst.note if worst else ""),
        )
        record = _record(request, now_s, facts, refusals)
        decision = AdmissionDecision(worst is None, retry_after_s, record)
        self._note("decide", request, wait_s, service_s, now_s, decision)
        return decision

    def _over_budget(self, request: RequestShape, now_s: float) -> Iterator[Candidate]:
        """Budgets that it would overdraw; the cost is the time until there is room."""
        wanted = amount_of(request)
        share = self.policy.share(request.priority)
        for owner, account in self._accounts(request):
            for resource, bound, have in account.bounds():
                want = getattr(wanted, resource)
                excess = have + want - bound * share
                # What is larger than the whole budget passes alone: refusing it for ever is no
                # answer.
                if want and excess > 0 and have:
                    unknown_s = self.policy.min_retry_after_s
                    after_s = account.free_after_s(resource, excess, now_s, unknown_s)
                    note = f"{have} + {want} {resource} of {owner} in flight, "
                    note += f"{bound * share:g} allowed"
                    yield Candidate(resource, 0.0, after_s, note)

    def _too_long(self, request: RequestShape, wait_s: float) -> Iterator[Candidate]:
        allowed_s = self.policy.max_wait_s * self.policy.share(request.priority)
        if wait_s > allowed_s:
            note = f"it would wait {wait_s:.3g} s, {allowed_s:g} s is allowed"
            # The queue gets shorter by a second each second.
            yield Candidate("wait", 0.0, wait_s - allowed_s, note)

    def _too_late(
        self, request: RequestShape, wait_s: float, service_s: float, now_s: float
    ) -> Iterator[Candidate]:
        if not self.policy.shed_late or request.deadline_s is None:
            return
        late_s = now_s + wait_s + service_s - request.deadline_s
        if late_s > 0:
            note = f"its first token would be {late_s:.3g} s too late"
            yield Candidate("deadline", 0.0, late_s, note)

    # Books --------------------------------------------------------------------------------------

    def admit(self, request: RequestShape) -> None:
        """Enter a request; ValueError when one of its key is in flight."""
        if request.key in self._in_flight:
            raise ValueError(f"request {request.key!r} is in flight already")
        self._note("admit", request)
        self._in_flight[request.key] = request
        for _, account in self._accounts(request):
            account.add(amount_of(request), 1)

    def release(self, key: str, now_s: float) -> None:
        """Strike out a request that has ended, however; KeyError when it is not in flight."""
        request = self._in_flight.pop(key)
        self._note("release", key, now_s)
        for _, account in self._accounts(request):
            account.add(amount_of(request), -1)
            account.released.append((now_s, amount_of(request)))

    def _note(self, call: str, *arguments: object) -> None:
        if self.journal is not None:
            self.journal.append((call, arguments))

    def _accounts(self, request: RequestShape) -> Iterator[tuple[str, _Account]]:
        if request.modality in self._modalities:
            yield f"modality {request.modality}", self._modalities[request.modality]
        if request.tenant not in self._tenants:
            if self.policy.any_tenant == Budget():
                return
            self._tenants[request.tenant] = _Account(self.policy.any_tenant)
        yield f"tenant {request.tenant}", self._tenants[request.tenant]


def amount_of(request: RequestShape) -> Amount:
    return Amount(1, request.visual_tokens, request.num_bytes, request.pixels)


def _record(
    request: RequestShape,
    at_s: float,
    facts: tuple[tuple[str, Fact], ...],
    refusals: Sequence[Candidate],
) -> Record:
    refused = "is refused for {retry_after_s:.3g} s: {why}"
    verdict = refused if refusals else "is let in, to wait {wait_s:.3g} s"
    return Record(
        kind="admit",
        at_s=at_s,
        subject=request.key,
        inputs=(
            ("modality", request.modality),
            ("tenant", request.tenant),
            ("priority", request.priority),
            ("visual_tokens", request.visual_tokens),
            ("num_bytes", request.num_bytes),
            ("pixels", request.pixels),
            *facts,
        ),
        candidates=tuple(refusals),
        choice="refuse" if refusals else "admit",
        gain=0.0,
        cost=max((one.cost for one in refusals), default=0.0),
        template="{subject} ({modality} of {tenant}, {priority}) " + verdict,
    )
