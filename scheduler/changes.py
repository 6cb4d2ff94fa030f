"""A possible change of roles or groups, with its gain and cost.

Eq. 2 and 3 have one form: the latency that the stage which gets e_max is spared, against moving
e_max's work (M) and the latency that the stage which loses it suffers (L), weighed by w. So one
pair of functions serves prefill, decode, and encode, which the paper leaves open; who gets and who
gives tells the equations apart.
"""

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from saccade.scheduler.cluster import InstanceState, Role
from saccade.scheduler.estimates import Estimator
from saccade.scheduler.layout import GroupLayout, Layout, share
from saccade.scheduler.records import Candidate
from saccade.scheduler.stability import Brake

_ROUNDING = 1e-9
NO_ROLES: frozenset[Role] = frozenset()


class Step(NamedTuple):
    """One instance's part in a change; no roles stand for not being in the group."""

    instance: InstanceState
    from_roles: frozenset[Role]
    to_roles: frozenset[Role]


class Change(NamedTuple):
    """e_max goes to another stage, perhaps of another group, and what that takes."""

    victim: Step
    from_pool: str
    to_pool: str
    gain: float
    cost: float
    heirs: tuple[Step, ...] = ()
    """Instances that take over a role of which e_max was the last, or leave theirs to it."""

    @property
    def net(self) -> float:
        return self.gain - self.cost if math.isfinite(self.cost) else -math.inf

    @property
    def num_moves(self) -> int:
        return 1 + len(self.heirs)

    def candidate(self, note: str = "") -> Candidate:
        return Candidate(self.label, self.gain, self.cost, note)

    @property
    def label(self) -> str:
        way = f"{names(self.victim.from_roles)} -> {names(self.victim.to_roles)}"
        return f"{self.victim.instance.name} ({way})"


class Changes:
    """Finds changes in a layout and weighs them."""

    def __init__(self, layout: Layout, estimator: Estimator, brake: Brake) -> None:
        self.layout = layout
        self.estimator = estimator
        self.brake = brake
        self._moved: set[str] = set()
        self._totals_s: dict[
            tuple[str, float, float | None, float | None, float | None], float
        ] = {}
        self._migrations_s: dict[str, float] = {}
        """By instance; whoever moves is not asked for again in a tick."""
        self._victims: dict[tuple[str, Role], list[InstanceState]] = {}

    # Gain and cost ------------------------------------------------------------------------------

    def spared(
        self, group: GroupLayout, before: Mapping[Role, float], after: Mapping[Role, float]
    ) -> float:
        """T(R, E) - T(R, E'), summed over the stages of a group; E and E' by stage."""
        return _difference(self._total_s(group, before), self._total_s(group, after))

    def _total_s(self, group: GroupLayout, num: Mapping[Role, float]) -> float:
        # What is to be done does not change within a tick, and many changes lead to the same E.
        key = (
            group.spec.name, group.kv_tokens_per_instance,
            num.get("encode"), num.get("prefill"), num.get("decode"),
        )  # fmt: skip
        found = self._totals_s.get(key)
        if found is None:
            found = self._totals_s[key] = self.estimator.total_delay_s(
                [(group.demand(role), num.get(role, 0.0)) for role in group.spec.stages]
            )
        return found

    def migration(self, group: GroupLayout, instance: InstanceState) -> float:
        """M(e_max), for the requests of the stage that loses it."""
        found = self._migrations_s.get(instance.name)
        if found is None:
            roles = group.roles[instance.name]
            role: Role = next(r for r in ("decode", "prefill", "encode") if r in roles)
            kv_tokens = instance.kv_used_tokens if role == "decode" else 0
            found = self.estimator.migration_cost_s(group.demand(role).load, kv_tokens)
            self._migrations_s[instance.name] = found
        return found

    def loss(
        self, group: GroupLayout, steps: tuple[Step, ...], after: Mapping[Role, float]
    ) -> float:
        """w L: what the group suffers; infinite when the rest cannot hold the KV to be migrated.

        Args:
            steps: the victim's, then those of its heirs.
            after: |E| by stage after them.
        """
        instance, roles, _ = steps[0]
        if "decode" in roles and instance.kv_capacity_tokens is not None:
            left = group.num["decode"] - share(instance, roles, "decode")
            left += sum(
                share(step.instance, step.to_roles, "decode")
                for step in steps[1:]
                if "decode" in step.to_roles and "decode" not in step.from_roles
            )
            demand = group.demand("decode")
            room_tokens = (
                left * demand.kv_tokens_per_instance * self.estimator.policy.kv_limit_ratio
            )
            if demand.load.tokens > room_tokens:
                return math.inf
        return self.estimator.policy.penalty_weight * max(
            0.0, -self.spared(group, group.num, after)
        )

    def leaves_reserve(self, source: GroupLayout, victim: InstanceState, ratio: float) -> bool:
        """Without the victim the group keeps so many times what its arrivals need."""
        heirs = self._heirs(source, victim)
        if heirs is None:
            return False
        leaving = Step(victim, source.roles[victim.name], NO_ROLES)
        return source.has_reserve(ratio, _shares(source.num, (leaving, *heirs)))

    # Changes ------------------------------------------------------------------------------------

    def within(self, group: GroupLayout, victim: InstanceState, role: Role) -> Change:
        """e_max takes another role in its group."""
        name = group.spec.name
        roles = group.roles[victim.name]
        leaving = Step(victim, roles, NO_ROLES)
        entering = Step(victim, NO_ROLES, frozenset({role}))
        freed = self._freed(group, role)
        left = _shares(group.num, (leaving,))
        cost = self.migration(group, victim) + self.loss(group, (leaving,), left)
        # Gain after loss, so that both together are what the change does to the group.
        gain = self.spared(group, left, _shares(left, (entering, *freed)))
        return Change(Step(victim, roles, frozenset({role})), name, name, gain, cost, freed)

    def between(
        self, source: GroupLayout, target: GroupLayout, victim: InstanceState, role: Role
    ) -> Change:
        """e_max goes to a stage of another group."""
        roles = source.roles[victim.name]
        heirs = self._heirs(source, victim)
        freed = self._freed(target, role)
        leaving = Step(victim, roles, NO_ROLES)
        entering = Step(victim, NO_ROLES, frozenset({role}))
        cost = self.migration(source, victim)
        if heirs is None:
            cost = math.inf
        else:
            steps = (leaving, *heirs)
            cost += self.loss(source, steps, _shares(source.num, steps))
        gain = self.spared(target, target.num, _shares(target.num, (entering, *freed)))
        names_ = (source.spec.name, target.spec.name)
        change = Step(victim, roles, frozenset({role}))
        return Change(change, *names_, gain, cost, (*(heirs or ()), *freed))

    def _heirs(self, group: GroupLayout, victim: InstanceState) -> tuple[Step, ...] | None:
        """Who takes over the roles of which the victim is the last; None when nobody can."""
        lost = frozenset(r for r in group.roles[victim.name] if group.count[r] == 1)
        if not lost:
            return ()
        able = [
            self.layout.instances[name]
            for name in group.roles
            if name != victim.name and self._may_help(name, lost)
        ]
        if not able:
            return None
        heir = min(able, key=lambda one: (len(group.roles[one.name]), one.work_s, one.name))
        roles = group.roles[heir.name]
        return (Step(heir, roles, roles | lost),)

    def _may_help(self, name: str, roles: frozenset[Role]) -> bool:
        instance = self.layout.instances[name]
        return roles <= instance.resident and not instance.moving and name not in self._moved

    def _freed(self, group: GroupLayout, role: Role) -> tuple[Step, ...]:
        """The instance that served the role among others leaves it to the one that comes."""
        if group.count.get(role, 0) != 1:
            return ()
        name, roles = next((n, roles) for n, roles in group.roles.items() if role in roles)
        if len(roles) == 1 or not self._may_help(name, NO_ROLES):
            return ()
        return (Step(self.layout.instances[name], roles, roles - {role}),)

    # Victims ------------------------------------------------------------------------------------

    def victim(self, group: GroupLayout, role: Role, target: Role) -> InstanceState | None:
        """e_max: of those that serve this role alone and may take the target, the best to give.

        In decode the one with the most unused KV slots; in encode and prefill, which hold no KV for
        long, the one with the least work. Small ones first: data parallelism is preferred.
        """
        key = (group.spec.name, role)
        if key not in self._victims:
            alone = frozenset({role})
            found = [self.layout.instances[n] for n, roles in group.roles.items() if roles == alone]
            found = [one for one in found if not one.moving and self.brake.has_dwelt(one.name)]
            found.sort(key=_by_unused_kv if role == "decode" else _by_work)
            self._victims[key] = found
        for instance in self._victims[key]:
            if target in instance.resident and instance.name not in self._moved:
                return instance
        return None

    def made(self, change: Change) -> None:
        """Note that a change was made: nobody moves twice in a tick."""
        for step in (change.victim, *change.heirs):
            self._moved.add(step.instance.name)


def _by_unused_kv(instance: InstanceState) -> tuple[int, int, float, str]:
    size = instance.tensor_parallel_size
    return (size, -instance.kv_free_tokens, instance.work_s, instance.name)


def _by_work(instance: InstanceState) -> tuple[int, float, str]:
    return (instance.tensor_parallel_size, instance.work_s, instance.name)


def _shares(num: Mapping[Role, float], steps: Iterable[Step]) -> dict[Role, float]:
    """|E| by stage after the steps."""
    after = dict(num)
    for instance, from_roles, to_roles in steps:
        for role in from_roles:
            after[role] -= share(instance, from_roles, role)
            if after[role] < _ROUNDING:
                # What sums of shares leave over is no instance.
                after[role] = 0.0
        for role in to_roles:
            after[role] = after.get(role, 0.0) + share(instance, to_roles, role)
    return after


def _difference(more_s: float, less_s: float) -> float:
    """Of two latencies that may both be infinite."""
    return 0.0 if more_s == less_s else more_s - less_s


@cache
def names(roles: frozenset[Role]) -> str:
    """For people: "decode+prefill"."""
    return "+".join(sorted(roles))
