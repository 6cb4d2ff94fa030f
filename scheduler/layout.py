"""Who serves what, as a tick sees it and changes it: one round's short-lived object."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from saccade.scheduler.cluster import (
    NO_LOAD,
    ROLES,
    ClusterState,
    GroupState,
    InstanceState,
    Role,
    StageLoad,
    Traffic,
)
from saccade.scheduler.cost_model.model import speedup
from saccade.scheduler.estimates import Demand
from saccade.scheduler.monitor import Flow
from saccade.scheduler.policy import GroupSpec, Policy
from saccade.scheduler.records import Record

SHARED = "shared"
"""Name of the one pool that the groups are when the isolation is zero."""


class Move(NamedTuple):
    """An instance changes its roles, its group, or both. Its work goes elsewhere first."""

    instance: str
    from_group: str
    to_group: str
    from_roles: frozenset[Role]
    to_roles: frozenset[Role]
    record: Record


@dataclass(frozen=True, slots=True)
class Pool:
    """Instances that are managed together: a group, or all of them when nothing is isolated."""

    spec: GroupSpec
    groups: tuple[str, ...]

    def state_in(self, state: ClusterState) -> GroupState:
        """The traffic of its groups together, and the worst wait in them."""
        states = [state.groups[name] for name in self.groups if name in state.groups]
        if len(states) == 1:
            return states[0]
        traffic = Traffic(
            *(sum(part) for part in zip(*(one.traffic for one in states), strict=True))
        )
        return GroupState(
            traffic, oldest_wait_s=max((s.oldest_wait_s for s in states), default=0.0)
        )


def pools_of(policy: Policy) -> tuple[Pool, ...]:
    """One for each group; a single one at isolation 0."""
    if policy.isolation.level > 0 or len(policy.groups) == 1:
        return tuple(Pool(spec, (spec.name,)) for spec in policy.groups)
    modalities = frozenset[str]().union(*(spec.modalities for spec in policy.groups))
    stages = tuple(dict.fromkeys(role for spec in policy.groups for role in spec.stages))
    num = sum(spec.min_instances for spec in policy.groups)
    names = tuple(spec.name for spec in policy.groups)
    return (Pool(GroupSpec(SHARED, modalities, stages, num), names),)


@dataclass(slots=True)
class GroupLayout:
    """The instances of one pool during a tick."""

    spec: GroupSpec
    flow: Flow
    roles: dict[str, frozenset[Role]] = field(default_factory=dict)
    """By instance, with the moves of this tick applied."""
    load: dict[Role, StageLoad] = field(default_factory=dict)
    """On the instances and waiting for one. Moves leave it as it is: work stays in its group."""
    num: dict[Role, float] = field(default_factory=dict)
    """|E| by stage, in instances of tensor-parallel size 1; roles of one share its time."""
    count: dict[Role, int] = field(default_factory=dict)
    """Instances that serve a stage, be it among others."""
    kv_capacity_tokens: float = 0.0
    num_with_kv: int = 0
    kv_tokens_per_instance: float = math.inf
    """Mean capacity of those that have told theirs."""
    _demands: dict[Role, Demand] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.roles)

    def demand(self, role: Role) -> Demand:
        """What is to be done in a stage, on however many instances; its load is complete."""
        found = self._demands.get(role)
        if found is None:
            load = self.load.get(role, NO_LOAD)
            found = Demand(role, load, self.flow, self.kv_tokens_per_instance)
            self._demands[role] = found
        return found

    def has_reserve(self, ratio: float, num: Mapping[Role, float] | None = None) -> bool:
        """Its stages have so many times the instances that its arrivals need, each and in all.

        Args:
            num: |E| by stage, if it is another than now.
        """
        num = self.num if num is None else num
        # In the order of ROLES: that of a set, and so the last bit of a sum, differs between
        # processes.
        served = [role for role in ROLES if role in num]
        needs = [ratio * self.flow.rate_per_s * self.demand(role).service_s for role in served]
        has = [num[role] for role in served]
        enough = all(one >= min(need, 1.0) for one, need in zip(has, needs, strict=True))
        return enough and sum(has) >= sum(needs)

    def enter(self, instance: InstanceState, roles: frozenset[Role]) -> None:
        self.roles[instance.name] = roles
        self._count(instance, roles, 1)

    def leave(self, instance: InstanceState) -> None:
        self._count(instance, self.roles.pop(instance.name), -1)

    def _count(self, instance: InstanceState, roles: frozenset[Role], sign: int) -> None:
        for role in roles:
            self.num[role] = self.num.get(role, 0.0) + sign * share(instance, roles, role)
            self.count[role] = self.count.get(role, 0) + sign
            if not self.count[role]:
                self.num[role] = 0.0
        if instance.kv_capacity_tokens is not None:
            self.kv_capacity_tokens += sign * instance.kv_capacity_tokens
            self.num_with_kv += sign
            mean = self.kv_capacity_tokens / self.num_with_kv if self.num_with_kv else math.inf
            if mean != self.kv_tokens_per_instance:
                self.kv_tokens_per_instance = mean
                self._demands.clear()


class Layout:
    """All groups, with the moves of this tick applied."""

    def __init__(self, state: ClusterState, policy: Policy, flows: Mapping[str, Flow]) -> None:
        self.pools = pools_of(policy)
        self.instances = {instance.name: instance for instance in state.instances}
        self.groups: dict[str, GroupLayout] = {}
        self._pool_of = {group: pool.spec.name for pool in self.pools for group in pool.groups}
        for pool in self.pools:
            states = [state.groups[name] for name in pool.groups if name in state.groups]
            load = _sum(one.waiting for one in states)
            self.groups[pool.spec.name] = GroupLayout(pool.spec, flows[pool.spec.name], load=load)
        for instance in self.instances.values():
            group = self.groups[self.pool_of(instance)]
            group.enter(instance, instance.roles)
            for role, load_here in instance.load.items():
                group.load[role] = group.load.get(role, NO_LOAD).plus(load_here)

    def pool_of(self, instance: InstanceState) -> str:
        """Name of the pool; ValueError when the instance names a group that the policy lacks."""
        if instance.group not in self._pool_of:
            known = ", ".join(self._pool_of)
            raise ValueError(f"{instance.name} is in group {instance.group!r}; known: {known}")
        return self._pool_of[instance.group]

    def apply(self, move: Move) -> None:
        instance = self.instances[move.instance]
        source = self._pool_of[move.from_group]
        self.groups[source].leave(instance)
        self.groups[self._pool_of[move.to_group]].enter(instance, move.to_roles)


def share(instance: InstanceState, roles: frozenset[Role], role: Role) -> float:
    """Instances of size 1 that it stands for in one of its roles."""
    return speedup(role, instance.tensor_parallel_size) / len(roles)


def _sum(parts: Iterable[Mapping[Role, StageLoad]]) -> dict[Role, StageLoad]:
    total: dict[Role, StageLoad] = {}
    for part in parts:
        for role, load in part.items():
            total[role] = total.get(role, NO_LOAD).plus(load)
    return total
