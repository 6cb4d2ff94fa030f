"""The records of what the managers decide: inputs, candidates, gain, cost, choice and reason."""

from collections.abc import Iterable, Mapping

from saccade.scheduler import groups, stages
from saccade.scheduler.changes import Change, names
from saccade.scheduler.layout import GroupLayout
from saccade.scheduler.records import Candidate, Kind, Record


def allocation(
    at_s: float,
    need: Mapping[str, float],
    sizes: Mapping[str, int],
    wanted: Mapping[str, int],
    *,
    taken: bool,
) -> Record:
    """A round of Eq. 1: from so many instances by group to what burst tolerance wants."""
    now_bt = groups.least_tolerance(sizes, need)
    new_bt = groups.least_tolerance(wanted, need)
    split = ", ".join(f"{name} {num}" for name, num in wanted.items())
    return Record(
        kind="proactive",
        at_s=at_s,
        subject="all groups",
        inputs=(
            *((f"need of {name}", one) for name, one in need.items()),
            ("least_tolerance", now_bt),
            ("split", split),
            ("verdict", "taken" if taken else "kept as it is: too little to move for"),
        ),
        candidates=tuple(
            Candidate(
                f"{name}: {sizes[name]} -> {wanted[name]}",
                groups.burst_tolerance(wanted[name], one),
                groups.burst_tolerance(sizes[name], one),
                "burst tolerance after and before",
            )
            for name, one in need.items()
        ),
        choice=split if taken else None,
        gain=new_bt,
        cost=now_bt,
        template="{subject}: {split} raises the least burst tolerance from {cost:.3g} to "
        "{gain:.3g}; {verdict}",
    )


def change(
    at_s: float,
    one: Change,
    kind: Kind,
    text: str,
    target: GroupLayout,
    possible: Iterable[Change],
    *,
    made: bool,
) -> Record:
    """A change by Eq. 2 or 3, made or not, among those that were possible."""
    (role,) = one.victim.to_roles
    donor = min(one.victim.from_roles)
    load = target.demand(role).load
    return Record(
        kind=kind,
        at_s=at_s,
        subject=one.to_pool,
        inputs=(
            ("source", one.from_pool),
            ("target_role", role),
            ("roles_before", names(one.victim.from_roles)),
            ("num_in_role", target.num.get(role, 0.0)),
            ("num_waiting", load.num_requests),
            ("work_s", load.work_s),
            ("rate_per_s", target.flow.rate_per_s),
            ("equation", stages.equation(role, donor)),
            ("choice_kept", one.label),
        ),
        candidates=tuple(other.candidate() for other in possible),
        choice=one.label if made else None,
        gain=one.gain,
        cost=one.cost,
        template=text,
    )
