"""A cluster in which work flows like water: enough to show what the managers make of a load."""

import dataclasses
from collections.abc import Iterable, Mapping

from saccade.scheduler.cluster import (
    NO_LOAD,
    ClusterState,
    GroupState,
    InstanceState,
    Role,
    StageLoad,
    Traffic,
)
from saccade.scheduler.cost_model import CostModel
from saccade.scheduler.layout import Move
from saccade.scheduler.manager import Manager, TickDecision
from saccade.scheduler.policy import Policy
from saccade.scheduler.requests import RequestShape, VisualItem
from tests.unit.scheduler.worlds import ALL

TEXT = RequestShape("t", text_tokens=800, output_tokens=200)
PICTURE = RequestShape("p", "image", 100, (VisualItem("v", 1500),), output_tokens=100)
SHAPES = {"text": TEXT, "multimodal": PICTURE}


def split(**groups: Iterable[Role]) -> list[InstanceState]:
    """Instances with one role each: split(text=("prefill", "decode"))."""
    return [
        InstanceState(
            f"{group}-{number}", ALL, frozenset({role}), group, kv_capacity_tokens=900_000
        )
        for group, roles in groups.items()
        for number, role in enumerate(roles)
    ]


class Toy:
    """Instances, what waits before each stage, and a manager whose moves are made at once."""

    def __init__(self, policy: Policy, cost: CostModel, instances: Iterable[InstanceState]) -> None:
        self.cost = cost
        self.policy = policy
        self.manager = Manager(policy, cost)
        self.instances = {one.name: one for one in instances}
        self.backlog_s: dict[tuple[str, Role], float] = {}
        self.now_s = 0.0
        self.moves: list[tuple[float, Move]] = []
        self.decisions: list[TickDecision] = []

    def tick(self, rates: Mapping[str, float], elapsed_s: float = 1.0) -> TickDecision:
        """Let requests arrive at these rates, work, and let the manager decide."""
        self.now_s += elapsed_s
        states = {
            group: self._work(group, rates.get(group, 0.0), elapsed_s)
            for group in (spec.name for spec in self.policy.groups)
        }
        state = ClusterState(tuple(self._loaded(one) for one in self.instances.values()), states)
        decision = self.manager.tick(state, self.now_s)
        for move in decision.moves:
            self._make(move)
            self.moves.append((self.now_s, move))
        self.decisions.append(decision)
        return decision

    def run(self, rates: Mapping[str, float], num_ticks: int) -> None:
        for _ in range(num_ticks):
            self.tick(rates)

    def count(self, group: str, role: Role | None = None) -> int:
        return sum(
            one.group == group and (role is None or role in one.roles)
            for one in self.instances.values()
        )

    def _work(self, group: str, rate_per_s: float, elapsed_s: float) -> GroupState:
        shape = SHAPES[group]
        num = rate_per_s * elapsed_s
        work = self.cost.work(shape)
        wait_s = 0.0
        for role, each_s in zip(("encode", "prefill", "decode"), work, strict=True):
            key: tuple[str, Role] = (group, role)  # type: ignore[assignment]
            served = self._num(*key) * elapsed_s
            self.backlog_s[key] = max(0.0, self.backlog_s.get(key, 0.0) + num * each_s - served)
            if role != "decode" and served:
                wait_s = max(wait_s, self.backlog_s[key] / served * elapsed_s)
        traffic = Traffic(
            round(num),
            round(num) * self.cost.prompt_tokens(shape),
            round(num) * shape.output_tokens,
            *(round(num) * each_s for each_s in work),
        )
        return GroupState(traffic, oldest_wait_s=wait_s)

    def _num(self, group: str, role: Role) -> float:
        return sum(
            1 / len(one.roles)
            for one in self.instances.values()
            if one.group == group and role in one.roles
        )

    def _loaded(self, one: InstanceState) -> InstanceState:
        load = {role: self._share(one.group, role) for role in one.roles}
        used = load.get("decode", NO_LOAD).tokens
        return dataclasses.replace(one, load=load, kv_used_tokens=used)

    def _share(self, group: str, role: Role) -> StageLoad:
        shape = SHAPES[group]
        each_s = dict(zip(("encode", "prefill", "decode"), self.cost.work(shape), strict=True))
        work_s = self.backlog_s.get((group, role), 0.0) / max(1, self.count(group, role))
        num = round(work_s / each_s[role]) if each_s[role] else 0
        if not num:
            return NO_LOAD
        length = shape.output_tokens if role == "decode" else self.cost.prompt_tokens(shape)
        left = num * shape.output_tokens // 2 if role == "decode" else 0
        return StageLoad(num, work_s, num * 1000, left, num / length, num / 2)

    def _make(self, move: Move) -> None:
        one = self.instances[move.instance]
        assert (one.group, one.roles) == (move.from_group, move.from_roles)
        self.instances[move.instance] = dataclasses.replace(
            one, group=move.to_group, roles=move.to_roles
        )
