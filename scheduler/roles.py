"""Which role each instance takes at the start."""

from collections.abc import Mapping

from saccade.scheduler.cluster import Role


def initial_roles(resident: Mapping[str, frozenset[Role]]) -> dict[str, frozenset[Role]]:
    """Split the instances that may do both between prefill and decode; the rest do what they can.

    Of an odd number the larger half decodes: a request decodes longer than it prefills. A lone
    instance keeps both roles. Whatever is not prefill or decode is served as resident.
    """
    assigned = {name: set(roles) for name, roles in resident.items()}
    both = sorted(name for name, roles in resident.items() if {"prefill", "decode"} <= roles)
    others_prefill = any("prefill" in resident[name] for name in resident.keys() - set(both))
    others_decode = any("decode" in resident[name] for name in resident.keys() - set(both))
    num_prefill = _num_prefill(len(both), others_prefill, others_decode)
    if num_prefill is not None:
        for index, name in enumerate(both):
            assigned[name].discard("decode" if index < num_prefill else "prefill")
    return {name: frozenset(roles) for name, roles in assigned.items()}


def _num_prefill(num_both: int, others_prefill: bool, others_decode: bool) -> int | None:
    """How many of the versatile instances prefill; None when each has to keep both roles."""
    if num_both >= 2:
        return num_both // 2
    if num_both == 1 and others_prefill and not others_decode:
        return 0
    if num_both == 1 and others_decode and not others_prefill:
        return 1
    return None
