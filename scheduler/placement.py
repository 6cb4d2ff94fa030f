"""Where one request runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from saccade.scheduler.cluster import InstanceView, Role


class NoInstanceError(Exception):
    """No instance serves a stage that the request needs."""

    def __init__(self, role: Role) -> None:
        super().__init__(f"no instance serves {role}")
        self.role = role


@dataclass(frozen=True, slots=True)
class Placement:
    """The instances of the two LLM stages; the same name twice means no KV hand-over."""

    prefill: str
    decode: str
    reason: str
    encode: str | None = None
    """The instance for all pictures; None chooses for each picture when its turn comes."""

    @property
    def split(self) -> bool:
        return self.prefill != self.decode


def place(instances: Sequence[InstanceView], *, one_instance: bool = False) -> Placement:
    """Choose the least loaded instance for each stage, by name where loads are equal.

    Args:
        one_instance: prefill and decode must share an instance (prompt log-probabilities are
            computed by prefill and returned by decode). Any instance with both roles resident
            will do, whatever it serves now.

    Raises:
        NoInstanceError: when a stage has none.
    """
    if one_instance:
        able = [view for view in instances if {"prefill", "decode"} <= view.resident]
        if not able:
            raise NoInstanceError("prefill")
        chosen = min(able, key=lambda view: (view.total_load, view.name))
        return Placement(chosen.name, chosen.name, "the request needs both stages on one instance")
    prefill = least_loaded(instances, "prefill")
    decode = least_loaded(instances, "decode")
    if "prefill" in decode.roles and "decode" in prefill.roles and prefill.name != decode.name:
        # Both do both: a hand-over would cost a transfer and gain nothing.
        prefill = decode
    return Placement(prefill.name, decode.name, "least loaded")


def least_loaded(instances: Sequence[InstanceView], role: Role) -> InstanceView:
    """The instance with the fewest requests in `role`; NoInstanceError when none serves it."""
    serving = [view for view in instances if role in view.roles]
    if not serving:
        raise NoInstanceError(role)
    return min(serving, key=lambda view: (view.busy(role), view.total_load, view.name))
