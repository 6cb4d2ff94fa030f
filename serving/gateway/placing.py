"""Where an answer's prompt is prefilled and decoded."""

import itertools
from dataclasses import replace
from typing import Literal

from saccade.scheduler.cluster import Role
from saccade.scheduler.placement import NoInstanceError, Placement, place
from saccade.scheduler.requests import RequestShape
from saccade.serving.gateway.instances import Instances, prefix_keys
from saccade.serving.gateway.prefixes import PrefixCaches, PrefixEstimate
from saccade.serving.transport.instance_pb2 import Prompt

PlacementName = Literal["cache_aware", "least_loaded", "round_robin"]


class Placer:
    """The scheduler's choice, or one of two plain ones to compare it with.

    The index of prefix caches is asked in each case, so that what it expected can be compared.
    """

    def __init__(
        self, instances: Instances, prefixes: PrefixCaches, how: PlacementName = "cache_aware"
    ) -> None:
        self._instances = instances
        self.prefixes = prefixes
        self._how = how
        self._turns = itertools.count()

    def place(self, shape: RequestShape, prompt: Prompt, estimate: PrefixEstimate) -> Placement:
        """Raises `NoInstanceError`."""
        held_tokens = self.prefixes.held_tokens(prompt)
        if self._how == "round_robin" and not shape.one_instance:
            placement = self._in_turn()
        else:
            known = held_tokens if self._how == "cache_aware" else {}
            shape = replace(shape, prefix=prefix_keys(known))
            index = self._instances.index(held_tokens=known, cost_model=self.prefixes.costs)
            placement = place(index, shape, ("prefill", "decode"))
        estimate.expected_tokens = held_tokens.get(placement.prefill or "", 0)
        return placement

    def _in_turn(self) -> Placement:
        turn = next(self._turns)
        return Placement(self._of("prefill", turn), self._of("decode", turn))

    def _of(self, role: Role, turn: int) -> str:
        serving = sorted(state.name for state in self._instances.states() if role in state.roles)
        if not serving:
            raise NoInstanceError(role)
        return serving[turn % len(serving)]
