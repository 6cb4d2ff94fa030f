"""The modality-level manager: how many instances each group has.

Proactively, from the history of its load, by burst tolerance (Eq. 1); reactively, in a burst, by
pre-empting instances of other groups, which are given back when it is over.
"""

import math
from collections.abc import Iterator, Mapping

from saccade.scheduler.changes import Change, Changes
from saccade.scheduler.cluster import InstanceState, Role
from saccade.scheduler.layout import GroupLayout

_EPSILON = 1e-9

# Proactive ---------------------------------------------------------------------------------------


def burst_tolerance(num_instances: float, need: float) -> float:
    """Eq. 1: bt = N_peak / N_avg, instances that it has over instances that it needs on average."""
    return num_instances / max(need, _EPSILON)


def allocate(
    num_instances: int, need: Mapping[str, float], minimum: Mapping[str, int]
) -> dict[str, int]:
    """Each next instance goes to the group with the lowest burst tolerance.

    That maximises the smallest one. Every group has its minimum first, as far as there are
    instances.

    Args:
        need: average need in instances (instance-seconds a second), by group in order of
        precedence.
    """
    allocation = dict.fromkeys(need, 0)
    left = num_instances
    for group in need:
        allocation[group] = min(minimum[group], left)
        left -= allocation[group]
    for _ in range(left):
        poorest = min(need, key=lambda group: burst_tolerance(allocation[group], need[group]))
        allocation[poorest] += 1
    return allocation


def reserved(
    num_instances: int, need: Mapping[str, float], minimum: Mapping[str, int], ratio: float
) -> dict[str, int]:
    """What each group keeps whatever the others need: its need with a reserve, or an equal share.

    Eq. 1 alone makes all groups equally overloaded when one is, so that pictures starve text.
    """
    equal_share = num_instances // len(need)
    return {
        group: max(minimum[group], min(math.ceil(ratio * need[group]), equal_share))
        for group in need
    }


def least_tolerance(allocation: Mapping[str, int], need: Mapping[str, float]) -> float:
    """What `allocate` maximises."""
    return min(burst_tolerance(allocation[group], need[group]) for group in need)


def toward_allocation(
    changes: Changes,
    groups: Mapping[str, GroupLayout],
    home_sizes: Mapping[str, int],
    allocation: Mapping[str, int],
) -> Change | None:
    """The next step of a group that has too many to one that has too few; idle instances first."""
    surplus = [name for name in groups if home_sizes[name] > allocation[name]]
    deficit = [name for name in groups if home_sizes[name] < allocation[name]]
    if not surplus or not deficit:
        return None
    target = groups[max(deficit, key=lambda name: allocation[name] - home_sizes[name])]
    possible = [
        change
        for name in surplus
        for change in _changes_between(changes, groups[name], target)
        if math.isfinite(change.cost)
    ]
    return min(
        possible,
        key=lambda one: (not one.victim.instance.idle, one.cost - one.gain, one.label),
        default=None,
    )


# Reactive ----------------------------------------------------------------------------------------


def preemptions(
    changes: Changes,
    target: GroupLayout,
    others: Mapping[str, GroupLayout],
    reserve_ratio: float,
) -> Iterator[Change]:
    """Eq. 2 and 3 with e_max of another group, as far as that has more than its reserve."""
    for name, source in others.items():
        if name == target.spec.name or len(source) <= source.spec.min_instances:
            continue
        if not changes.brake.has_settled(name):
            continue
        for role in target.spec.stages:
            for victim in _victims(changes, source, role):
                if changes.leaves_reserve(source, victim, reserve_ratio):
                    yield changes.between(source, target, victim, role)


def _changes_between(
    changes: Changes, source: GroupLayout, target: GroupLayout
) -> Iterator[Change]:
    for role in target.spec.stages:
        for victim in _victims(changes, source, role):
            yield changes.between(source, target, victim, role)


def _victims(changes: Changes, source: GroupLayout, role: Role) -> Iterator[InstanceState]:
    for donor in source.spec.stages:
        victim = changes.victim(source, donor, role)
        if victim is not None:
            yield victim


def return_of(
    changes: Changes, source: GroupLayout, home: GroupLayout, instance: InstanceState
) -> Change:
    """The change that gives an instance back, to the stage of its home that gains the most."""
    possible = [
        changes.between(source, home, instance, role)
        for role in home.spec.stages
        if role in instance.resident
    ]
    return max(possible, key=lambda one: (one.gain, one.label))
