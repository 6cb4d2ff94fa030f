"""One tick of both managers: state and time in, moves and their reasons out.

The order within a tick: take in the traffic; allocate anew when the time has come; give back what a
burst has borrowed; then, group by group, the best change of a stage or, in a burst, the best
pre-emption, as long as gain exceeds cost and the brake allows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from saccade.scheduler import explain, groups, stages
from saccade.scheduler.changes import Change, Changes, Step
from saccade.scheduler.cluster import ClusterState
from saccade.scheduler.cost_model import CostModel
from saccade.scheduler.estimates import Estimator
from saccade.scheduler.layout import GroupLayout, Layout, Move, pools_of
from saccade.scheduler.monitor import GroupMonitor
from saccade.scheduler.policy import Policy
from saccade.scheduler.records import Kind, Record
from saccade.scheduler.stability import NO_MOVES, Brake, StabilityMemory


@dataclass(frozen=True, slots=True)
class ManagerMemory:
    """All that one tick leaves to the next."""

    monitors: Mapping[str, GroupMonitor] = field(default_factory=dict)
    stability: StabilityMemory = NO_MOVES
    homes: Mapping[str, str] = field(default_factory=dict)
    """Pool that an instance goes back to, of those that a burst has borrowed."""
    allocation: Mapping[str, int] = field(default_factory=dict)
    last_tick_s: float | None = None
    last_allocation_s: float | None = None


@dataclass(frozen=True, slots=True)
class TickDecision:
    """What one tick wants done, and why."""

    moves: tuple[Move, ...]
    records: tuple[Record, ...]
    allocation: Mapping[str, int]
    """Instances that each group should have in the long run."""
    burst_tolerance: Mapping[str, float]
    """Eq. 1, with the instances that each group has after the moves."""
    bursting: tuple[str, ...]
    next_tick_s: float


class Manager:
    """Both managers with their memory. The same ticks give the same decisions, bit for bit."""

    def __init__(
        self, policy: Policy, cost_model: CostModel, memory: ManagerMemory | None = None
    ) -> None:
        self.policy = policy
        self.cost_model = cost_model
        self.memory = memory or ManagerMemory()

    def tick(self, state: ClusterState, now_s: float) -> TickDecision:
        """Decide; the moves are for the caller to make.

        Raises:
            ValueError: when an instance is in a group that the policy does not have.
        """
        decision, self.memory = decide(self.policy, self.cost_model, self.memory, state, now_s)
        return decision


def decide(
    policy: Policy, cost_model: CostModel, memory: ManagerMemory, state: ClusterState, now_s: float
) -> tuple[TickDecision, ManagerMemory]:
    """One tick as a function."""
    tick = _Tick(policy, cost_model, memory, state, now_s)
    if policy.proactive.enabled:
        tick.allocate()
        tick.move_toward_allocation()
    if policy.reactive.give_back:
        tick.give_back()
    for group in tick.layout.groups.values():
        tick.rebalance(group)
    return tick.decision(), tick.memory_after()


class _Tick:
    """One round; lives for one call of `decide`."""

    def __init__(
        self,
        policy: Policy,
        cost_model: CostModel,
        memory: ManagerMemory,
        state: ClusterState,
        now_s: float,
    ) -> None:
        self.policy = policy
        self.before = memory
        self.now_s = now_s
        self.monitors = self._monitors(state)
        flows = {name: monitor.flow for name, monitor in self.monitors.items()}
        self.need = {name: monitor.slow.flow().need for name, monitor in self.monitors.items()}
        self.layout = Layout(state, policy, flows)
        num_instances = len(state.instances)
        in_seconds = policy.stages.units == "seconds"
        self.brake = Brake(
            policy.stability, memory.stability, num_instances, now_s, in_seconds=in_seconds
        )
        self.changes = Changes(
            self.layout, Estimator(cost_model, policy.stages, policy.slo), self.brake
        )
        self.homes = {
            name: home for name, home in memory.homes.items() if name in self.layout.instances
        }
        self.allocation = dict(memory.allocation)
        self.allocated_s = memory.last_allocation_s
        self._reserve = policy.isolation.reserve_ratio
        self.moves: list[Move] = []
        self.records: list[Record] = []

    def _monitors(self, state: ClusterState) -> dict[str, GroupMonitor]:
        last_s = self.before.last_tick_s
        elapsed_s = self.policy.tick_s if last_s is None else max(1e-6, self.now_s - last_s)
        policy = self.policy
        return {
            pool.spec.name: self.before.monitors.get(pool.spec.name, GroupMonitor()).after(
                pool.state_in(state), elapsed_s, policy
            )
            for pool in pools_of(policy)
        }

    # Modality level -----------------------------------------------------------------------------

    def allocate(self) -> None:
        """Eq. 1, when the period is over or the number of instances has changed."""
        sizes = self._home_sizes()
        num = sum(sizes.values())
        if self.allocated_s is None:
            # Nothing is known yet; the first period shows what is needed.
            self.allocated_s = self.now_s
            self.allocation = sizes
        due = self.now_s - self.allocated_s >= self.policy.proactive.period_s
        if not due and sum(self.allocation.values()) == num:
            return
        minimum = {name: group.spec.min_instances for name, group in self.layout.groups.items()}
        if not any(self.need.values()):
            self.allocation = sizes
            return
        self.allocated_s = self.now_s
        if not self.policy.reactive.give_back:
            self.homes = {}
            sizes = self._home_sizes()
        minimum = groups.reserved(num, self.need, minimum, self._reserve)
        wanted = groups.allocate(num, self.need, minimum)
        now_bt = groups.least_tolerance(sizes, self.need)
        new_bt = groups.least_tolerance(wanted, self.need)
        better = new_bt > now_bt * (1 + self.policy.proactive.min_gain_ratio)
        below = any(sizes[name] < min(minimum[name], wanted[name]) for name in sizes)
        self.allocation = wanted if better or below else sizes
        self._settle_borrowed()
        self._record_allocation(sizes, wanted, better or below)

    def _settle_borrowed(self) -> None:
        """What is borrowed stays where it is when the allocation would bring it there anyway."""
        for name, home in list(self.homes.items()):
            sizes = self._home_sizes()
            pool = self.layout.pool_of(self.layout.instances[name])
            if sizes[home] > self.allocation[home] and sizes[pool] < self.allocation[pool]:
                del self.homes[name]

    def _record_allocation(
        self, sizes: Mapping[str, int], wanted: Mapping[str, int], taken: bool
    ) -> None:
        record = explain.allocation(self.now_s, self.need, sizes, wanted, taken=taken)
        self.records.append(record)

    def move_toward_allocation(self) -> None:
        """Idle instances first; never out of a group that bursts."""
        calm = {
            name: group
            for name, group in self.layout.groups.items()
            if not self.monitors[name].bursting
        }
        if len(calm) < 2 or not self.allocation:
            return
        while True:
            change = groups.toward_allocation(
                self.changes, calm, self._home_sizes(), self.allocation
            )
            if change is None or not self._allowed(change):
                return
            text = "{subject} gets {choice} of {source}, as burst tolerance allocates"
            self._make(change, "proactive", text, (change,))

    def give_back(self) -> None:
        """Return what a burst has borrowed, when it is over and the return does no harm."""
        slack_s = self.policy.reactive.harmless_s
        for name, home in list(self.homes.items()):
            instance = self.layout.instances[name]
            pool = self.layout.pool_of(instance)
            if pool == home or instance.moving or name not in self.layout.groups[pool].roles:
                continue
            source = self.layout.groups[pool]
            if len(source) <= source.spec.min_instances or not self.brake.has_dwelt(name):
                continue
            needed = self.monitors[home].bursting and not self.layout.groups[home].has_reserve(
                self._reserve
            )
            settled = self.brake.has_settled(pool) and not self.monitors[pool].bursting
            if not needed and not settled:
                continue
            change = groups.return_of(self.changes, source, self.layout.groups[home], instance)
            loss = change.cost - self.changes.migration(source, instance)
            if (needed or loss <= change.gain + slack_s) and self._allowed(change):
                why = "it is needed at home" if needed else "the burst there is over"
                text = "{subject} gets {choice} back from {source}: " + why
                self._make(change, "give_back", text, (change,))

    def _home_sizes(self) -> dict[str, int]:
        """Instances by the pool where they belong; a borrowed one belongs where it goes back to."""
        sizes = {name: len(group) for name, group in self.layout.groups.items()}
        for name, home in self.homes.items():
            for pool, group in self.layout.groups.items():
                if name in group.roles and pool != home:
                    sizes[pool] -= 1
                    sizes[home] += 1
        return sizes

    # Stage level, and pre-emption ---------------------------------------------------------------

    def rebalance(self, group: GroupLayout) -> None:
        """The best change again and again, until none is worth it."""
        while True:
            possible = self._possible(group)
            best = max(possible, key=lambda one: one.net, default=None)
            if best is None:
                return
            if not self.brake.worth(best.gain, best.cost):
                self._stay(group, best, possible, "{choice_kept} is not worth it")
                return
            if not self._allowed(best):
                self._stay(group, best, possible, "{choice_kept} has to wait: the brake is on")
                return
            kind: Kind = "role" if best.from_pool == best.to_pool else "preempt"
            self._make(best, kind, "{subject}: {choice} from {source} by {equation}", possible)

    def _possible(self, group: GroupLayout) -> list[Change]:
        possible: list[Change] = []
        if self.policy.stages.enabled:
            possible.extend(stages.role_changes(self.changes, group))
        if self.policy.reactive.enabled and self.monitors[group.spec.name].bursting:
            possible.extend(groups.preemptions(self.changes, group, self._lenders(), self._reserve))
        return possible

    def _lenders(self) -> dict[str, GroupLayout]:
        return {
            name: group
            for name, group in self.layout.groups.items()
            if not self.monitors[name].bursting
        }

    # Making them --------------------------------------------------------------------------------

    def _allowed(self, change: Change) -> bool:
        group = self.layout.groups[change.to_pool]
        return self.brake.allows(change.to_pool, len(group), change.num_moves)

    def _make(self, change: Change, kind: Kind, text: str, possible: Iterable[Change]) -> None:
        record = self._record(
            change, kind, text + ", gain {gain:.4g} s, cost {cost:.4g} s", possible
        )
        self.records.append(record)
        for step in (change.victim, *change.heirs):
            move = self._move(change, step, record)
            self.layout.apply(move)
            self.moves.append(move)
            self.brake.moved(step.instance.name, change.to_pool)
        self._note_receiver(change)
        self.changes.made(change)
        self._note_home(change, kind)

    def _move(self, change: Change, step: Step, record: Record) -> Move:
        group = step.instance.group
        to_group = group
        if step is change.victim and change.from_pool != change.to_pool:
            to_group = change.to_pool
        return Move(step.instance.name, group, to_group, step.from_roles, step.to_roles, record)

    def _note_receiver(self, change: Change) -> None:
        group = self.layout.groups[change.to_pool]
        if change.from_pool != change.to_pool:
            self.brake.received(change.to_pool)
        for role in change.victim.to_roles:
            self.brake.received(stages.stage_name(group, role))

    def _note_home(self, change: Change, kind: Kind) -> None:
        name = change.victim.instance.name
        if kind == "preempt":
            home = self.homes.setdefault(name, change.from_pool)
            if home == change.to_pool:
                del self.homes[name]
        elif kind in ("give_back", "proactive"):
            self.homes.pop(name, None)

    def _stay(self, group: GroupLayout, best: Change, possible: Iterable[Change], why: str) -> None:
        if best.gain <= 0:
            return
        text = "{subject}: " + why + ", gain {gain:.4g} s, cost {cost:.4g} s by {equation}"
        kind: Kind = "role" if best.from_pool == best.to_pool else "preempt"
        record = self._record(best, kind, text, possible, made=False)
        self.records.append(record)

    def _record(
        self, change: Change, kind: Kind, text: str, possible: Iterable[Change], *,
        made: bool = True,
    ) -> Record:  # fmt: skip
        target = self.layout.groups[change.to_pool]
        return explain.change(self.now_s, change, kind, text, target, possible, made=made)

    # Out ----------------------------------------------------------------------------------------

    def decision(self) -> TickDecision:
        return TickDecision(
            tuple(self.moves),
            tuple(self.records),
            dict(self.allocation),
            {
                name: groups.burst_tolerance(len(group), self.need[name])
                for name, group in self.layout.groups.items()
            },
            tuple(name for name, monitor in self.monitors.items() if monitor.bursting),
            self.now_s + self.policy.tick_s,
        )

    def memory_after(self) -> ManagerMemory:
        stability = self.brake.memory(self.layout.instances)
        return ManagerMemory(
            self.monitors, stability, self.homes, self.allocation, self.now_s, self.allocated_s
        )
