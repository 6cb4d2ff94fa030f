"""A cost model whose times a test can compute in its head."""

from collections.abc import Sequence
from dataclasses import dataclass

from saccade.scheduler.cluster import Role
from saccade.scheduler.simulator.costs import EngineTraits
from saccade.scheduler.simulator.instance import Instance
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.policies.base import ALL, Policy


@dataclass(frozen=True)
class SomeCosts:
    """Each token of a stage takes so many seconds; moving anything is free unless said."""

    encode_token_s: float = 1e-3
    prefill_token_s: float = 1e-3
    decode_constant_s: float = 0.01
    decode_sequence_s: float = 0.0
    decode_context_s: float = 0.0
    preprocess_pixel_s: float = 0.0
    transfer_s: float = 0.0
    flip_s: float = 0.05
    capacity_tokens: int = 1_000_000_000
    tipping_point_tokens: int = 512

    def kv_capacity_tokens(self) -> int:
        return self.capacity_tokens

    def preprocess_s(self, pixels: int) -> float:
        return self.preprocess_pixel_s * pixels

    def encode_s(self, tokens: int) -> float:
        return self.encode_token_s * tokens

    def prefill_batch_s(self, sequences: Sequence[tuple[int, int]]) -> float:
        return sum(self.prefill_token_s * (tokens - cached) for tokens, cached in sequences)

    def decode_step_s(self, num_sequences: int, context_tokens: int) -> float:
        return self.decode_constant_s + self.decode_slope_s(num_sequences, context_tokens)

    def decode_slope_s(self, num_sequences: int, context_tokens: int) -> float:
        return self.decode_sequence_s * num_sequences + self.decode_context_s * context_tokens

    def visual_transfer_s(self, tokens: int) -> float:
        return self.transfer_s

    def kv_transfer_s(self, tokens: int) -> float:
        return self.transfer_s

    def migration_s(self, kv_tokens: int) -> float:
        return self.transfer_s


class SomeLayout(Policy):
    """Least loaded instances with the roles that a test gives."""

    name = "some-layout"
    title = "for tests"

    def __init__(self, *roles: frozenset[Role], traits: EngineTraits | None = None) -> None:
        super().__init__()
        self._roles = roles
        self.traits = traits or EngineTraits()

    def layout(self, num_instances: int) -> list[tuple[str, frozenset[Role]]]:
        return [(ALL, roles) for roles in self._roles]

    def choose_decode(self, job: Job, source: Instance) -> Instance | None:
        return source if source.serves("decode") else self._best(job, "decode")


def of(*roles: Role) -> frozenset[Role]:
    return frozenset(roles)
