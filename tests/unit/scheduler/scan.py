"""Placement by looking at every instance: slow, and easy to see to be right."""

from saccade.scheduler.cluster import NO_LOAD, InstanceState, Role
from saccade.scheduler.cost_model import CostModel
from saccade.scheduler.cost_model.model import speedup
from saccade.scheduler.policy import Policy
from saccade.scheduler.requests import RequestShape


class Scan:
    def __init__(self, policy: Policy, cost: CostModel, states: list[InstanceState]) -> None:
        self.policy = policy
        self.cost = cost
        self.states = {state.name: state for state in states}

    def eligible(self, request: RequestShape, role: Role) -> list[InstanceState]:
        home = self.policy.group_of(request.modality).name
        hard = self.policy.isolation.level == 1
        return [
            state
            for state in self.states.values()
            if role in state.roles and not state.moving and (state.group == home or not hard)
        ]

    def penalty_s(self, request: RequestShape, state: InstanceState) -> float:
        home = self.policy.group_of(request.modality).name
        return 0.0 if state.group == home else self.policy.isolation.penalty_s

    def queue_s(self, state: InstanceState, role: Role, request: RequestShape) -> float:
        return self.delay_s(state, role) * (request.output_tokens if role == "decode" else 1.0)

    def delay_s(self, state: InstanceState, role: Role) -> float:
        size = state.tensor_parallel_size
        if role == "decode":
            batch = state.load.get("decode", NO_LOAD)
            return self.cost.decode_slope_s(batch.num_requests, batch.tokens, size)
        encode_s = state.load.get("encode", NO_LOAD).work_s / speedup("encode", size)
        return encode_s + state.load.get("prefill", NO_LOAD).work_s / speedup("prefill", size)

    def cached_tokens(self, state: InstanceState, request: RequestShape) -> int:
        if not self.policy.placement.prefix_affinity:
            return 0
        held = [p.tokens for p in request.prefix if p.key in state.prefix_cache]
        return max(0, min(max(held, default=0), self.cost.prompt_tokens(request) - 1))

    def worth_s(self, state: InstanceState, request: RequestShape) -> float:
        """Saved encode and prefill time, less the transfer of visual tokens."""
        policy = self.policy.placement
        tokens = self.cost.prompt_tokens(request)
        saved_encode_s = transfer_s = 0.0
        for item in request.visual:
            here = policy.visual_affinity and item.key in state.visual_cache
            somewhere = policy.visual_affinity and any(
                item.key in other.visual_cache for other in self.states.values()
            )
            if here or (somewhere and policy.share_visual_cache):
                saved_encode_s += self.cost.encode_s(item.tokens)
            if not here:
                transfer_s += self.cost.visual_transfer_s(item.tokens)
        cached = self.cached_tokens(state, request)
        saved_prefill_s = self.cost.prefill_s(tokens) - self.cost.prefill_s(tokens, cached)
        return saved_encode_s + saved_prefill_s - transfer_s

    def score_s(
        self, state: InstanceState, role: Role, request: RequestShape, worth_s: float
    ) -> float:
        return worth_s - self.queue_s(state, role, request) - self.penalty_s(request, state)

    def best_prefill(self, request: RequestShape) -> tuple[str, float] | None:
        worth = {name: self.worth_s(state, request) for name, state in self.states.items()}
        return self.best("prefill", request, self.cost.prompt_kv_tokens(request), worth)

    def best_decode(self, request: RequestShape, prefill: str) -> tuple[str, float] | None:
        kv_tokens = self.cost.prompt_kv_tokens(request)
        worth = dict.fromkeys(self.states, -self.cost.kv_transfer_s(kv_tokens)) | {prefill: 0.0}
        return self.best("decode", request, kv_tokens + request.output_tokens, worth)

    def best(
        self, role: Role, request: RequestShape, kv_tokens: int, worth: dict[str, float]
    ) -> tuple[str, float] | None:
        """Name and score of the best with room, or of the best at all when none has any."""
        able = self.eligible(request, role)
        roomy = [state for state in able if state.kv_free_tokens >= kv_tokens]
        ranked = [
            (
                -self.score_s(state, role, request, worth[state.name]),
                self.delay_s(state, role),
                -state.kv_free_tokens,
                state.work_s,
                state.name,
            )
            for state in roomy or able
        ]
        return (min(ranked)[-1], -min(ranked)[0]) if ranked else None
