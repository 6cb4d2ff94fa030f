"""The stage-level manager: which instances of a group encode, prefill and decode.

Two decisions. How many waiting requests one prefill step takes (request dispatching), and whether
an instance changes its stage: for prefill by Eq. 2 (stage allocation), for decode by Eq. 3 (decode
auto-scaling), for encode by the same gain and cost.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from saccade.scheduler.changes import Change, Changes
from saccade.scheduler.cluster import Role
from saccade.scheduler.layout import GroupLayout
from saccade.scheduler.records import Record

# Request dispatching -----------------------------------------------------------------------------


class Waiting(NamedTuple):
    """A request whose visual tokens are there, waiting for its prefill."""

    key: str
    uncached_tokens: int
    kv_tokens: int
    """KV that its prefill will take."""


@dataclass(frozen=True, slots=True)
class PrefillBatch:
    """R_p: what the next prefill step takes from the head of the queue."""

    num_requests: int
    tokens: int
    kv_tokens: int
    stopped_by: Literal["empty", "kv", "tipping point"]
    """What ended the taking: the queue, the KV capacity, or the tipping point."""

    def record(self, instance: str, at_s: float) -> Record:
        """The decision for the log; made when it is asked for."""
        return Record(
            kind="batch",
            at_s=at_s,
            subject=instance,
            inputs=(
                ("num_requests", self.num_requests),
                ("tokens", self.tokens),
                ("kv_tokens", self.kv_tokens),
                ("stopped_by", self.stopped_by),
            ),
            candidates=(),
            choice=f"{self.num_requests} requests",
            gain=0.0,
            cost=0.0,
            template="{subject}: {choice} with {tokens} tokens to prefill, ended by: {stopped_by}",
        )


def prefill_batch(
    waiting: Iterable[Waiting], free_kv_tokens: int, tipping_point_tokens: int
) -> PrefillBatch:
    """First come, first served, while KV fits and the step stays under the tipping point.

    The head of the queue is taken whatever its length when its KV fits: it would be beyond the
    tipping point later, too. Nobody overtakes a head that does not fit; order is the queue's
    matter.
    """
    num_requests = tokens = kv_tokens = 0
    for request in waiting:
        if kv_tokens + request.kv_tokens > free_kv_tokens:
            return PrefillBatch(num_requests, tokens, kv_tokens, "kv")
        if num_requests and tokens + request.uncached_tokens > tipping_point_tokens:
            return PrefillBatch(num_requests, tokens, kv_tokens, "tipping point")
        num_requests += 1
        tokens += request.uncached_tokens
        kv_tokens += request.kv_tokens
    return PrefillBatch(num_requests, tokens, kv_tokens, "empty")


# Stage allocation and auto-scaling ---------------------------------------------------------------


def equation(target: Role, donor: Role) -> str:
    """Which equation a change of stage is weighed by."""
    if "encode" in (target, donor):
        return "Eq. 2 for encode"
    return "Eq. 2" if target == "prefill" else "Eq. 3"


def stage_name(group: GroupLayout, role: Role) -> str:
    """A stage of a group, for the brake."""
    return f"{group.spec.name} {role}"


def role_changes(changes: Changes, group: GroupLayout) -> Iterator[Change]:
    """For every pair of stages the change of e_max from one to the other, weighed."""
    elastic = group.spec.stages
    if not changes.estimator.policy.encode_elasticity:
        elastic = tuple(role for role in elastic if role != "encode")
    for target in elastic:
        for donor in elastic:
            if donor == target or group.count.get(donor, 0) < 2:
                continue
            if not changes.brake.has_settled(stage_name(group, donor)):
                continue
            victim = changes.victim(group, donor, target)
            if victim is not None:
                yield changes.within(group, victim, target)
