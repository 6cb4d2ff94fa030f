"""Policies by name. Each is imported when it is asked for."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from saccade.scheduler.simulator.errors import SimulatorError
from saccade.scheduler.simulator.policies.switches import SWITCHES

if TYPE_CHECKING:
    from saccade.scheduler.simulator.policies.base import Policy

_HERE = "saccade.scheduler.simulator.policies"
_POLICIES: dict[str, tuple[str, str]] = {
    "elasticmm": ("elasticmm", "ElasticMM"),
    "elasticmm-no-cache": ("elasticmm_ablations", "NoCache"),
    "elasticmm-blocking-encode": ("elasticmm_ablations", "BlockingEncode"),
    "elasticmm-no-elasticity": ("elasticmm_ablations", "NoElasticity"),
    "elasticmm-admission": ("elasticmm_ablations", "Admitting"),
    "static-text-first": ("static_split", "TextFirst"),
    "static-equal": ("static_split", "EqualSplit"),
    "static-multimodal-first": ("static_split", "MultimodalFirst"),
    "coupled-vllm-0.6.6": ("coupled_vllm_0_6_6", "CoupledVllm066"),
    "coupled-vllm-0.6.6-round-robin": ("coupled_vllm_0_6_6", "RoundRobin"),
    "coupled-vllm-today": ("coupled_vllm_today", "CoupledVllmToday"),
    "modserve": ("modserve", "ModServe"),
    "epdserve": ("epdserve", "EpdServe"),
    "shortest-first": ("shortest_first", "ShortestFirst"),
}
_STATIC = "static:"
_SWITCHED = "elasticmm-"
SWITCHED_NAMES = tuple(_SWITCHED + name for name in SWITCHES)
NAMES = (*_POLICIES, *SWITCHED_NAMES)


def policy_named(name: str) -> "Policy":
    """A fresh policy; SimulatorError lists the names when there is no such one."""
    if name.startswith(_STATIC):
        from saccade.scheduler.simulator.policies.static_pools import StaticPools

        return StaticPools.parse(name)
    switch = SWITCHES.get(name.removeprefix(_SWITCHED)) if name.startswith(_SWITCHED) else None
    if switch is not None:
        from saccade.scheduler.simulator.policies.elasticmm_ablations import Switched

        return Switched(name, switch)
    if name not in _POLICIES:
        raise SimulatorError(
            f"there is no policy {name!r}; the policies are {', '.join(NAMES)} "
            f"and {_STATIC}ENCODE,PREFILL,DECODE"
        )
    module, attribute = _POLICIES[name]
    factory: Callable[[], Policy] = getattr(import_module(f"{_HERE}.{module}"), attribute)
    return factory()


def titles() -> dict[str, str]:
    """What each policy is, in one line."""
    return {name: policy_named(name).title for name in NAMES}
