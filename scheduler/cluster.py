"""What a decision may look at: the instances, their roles, groups, load and caches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Role = Literal["encode", "prefill", "decode"]
ROLES: tuple[Role, ...] = ("encode", "prefill", "decode")

UNLIMITED_TOKENS = 1 << 62
"""Free KV of an instance that has not told its capacity."""


class StageLoad(NamedTuple):
    """Sums over the requests in one stage; what Eq. 2 and 3 need of them, so that none is
    listed."""

    num_requests: int = 0
    work_s: float = 0.0
    """Seconds that one instance of tensor-parallel size 1 needs for what is left of them."""
    tokens: int = 0
    """encode: visual tokens left; prefill: uncached prompt tokens left; decode: contexts,
    summed."""
    remaining_tokens: int = 0
    """decode: output tokens still to come."""
    inverse_lengths: float = 0.0
    """Sum of 1/length: visual tokens (encode), input_len (prefill), output_len (decode)."""
    remaining_ratio: float = 0.0
    """decode: sum of remaining/output_len."""

    def plus(self, other: "StageLoad") -> "StageLoad":
        # Spelled out: placement adds one for every request.
        return StageLoad(
            self.num_requests + other.num_requests,
            self.work_s + other.work_s,
            self.tokens + other.tokens,
            self.remaining_tokens + other.remaining_tokens,
            self.inverse_lengths + other.inverse_lengths,
            self.remaining_ratio + other.remaining_ratio,
        )

    def minus(self, other: "StageLoad") -> "StageLoad":
        """Empty, exactly, when no request is left: sums of floats keep no residue."""
        num_requests = self.num_requests - other.num_requests
        if num_requests <= 0:
            return NO_LOAD
        return StageLoad(
            num_requests,
            max(0.0, self.work_s - other.work_s),
            max(0, self.tokens - other.tokens),
            max(0, self.remaining_tokens - other.remaining_tokens),
            max(0.0, self.inverse_lengths - other.inverse_lengths),
            max(0.0, self.remaining_ratio - other.remaining_ratio),
        )


NO_LOAD = StageLoad()


@dataclass(frozen=True, slots=True)
class InstanceState:
    """One instance at one moment."""

    name: str
    resident: frozenset[Role]
    """Roles whose weights it keeps in memory."""
    roles: frozenset[Role]
    """Roles that it serves now; a subset of `resident`."""
    group: str = "all"
    tensor_parallel_size: int = 1
    load: Mapping[Role, StageLoad] = field(default_factory=dict)
    """Waiting and running work by stage."""
    kv_capacity_tokens: int | None = None
    """None: not told; placement then takes it for unlimited."""
    kv_used_tokens: int = 0
    visual_cache: frozenset[str] = frozenset()
    """Keys of the visual tokens that it holds."""
    prefix_cache: frozenset[str] = frozenset()
    """Keys of the beginnings of sequences whose KV it holds."""
    moving: bool = False
    """It is on its way to `roles` and `group`: being emptied, or changing. It counts there
    already, but gets no work and is not moved again."""

    def stage(self, role: Role) -> StageLoad:
        return self.load.get(role, NO_LOAD)

    @property
    def work_s(self) -> float:
        """Seconds of work in all stages."""
        return sum(load.work_s for load in self.load.values())

    @property
    def idle(self) -> bool:
        return not any(load.num_requests for load in self.load.values())

    @property
    def kv_free_tokens(self) -> int:
        if self.kv_capacity_tokens is None:
            return UNLIMITED_TOKENS
        return self.kv_capacity_tokens - self.kv_used_tokens


class Traffic(NamedTuple):
    """What arrived for one group since the last tick, in sums."""

    num_requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    """Expected."""
    encode_s: float = 0.0
    """Seconds of one instance, from the cost model; likewise the other two."""
    prefill_s: float = 0.0
    decode_s: float = 0.0


NO_TRAFFIC = Traffic()


@dataclass(frozen=True, slots=True)
class GroupState:
    """What one group shows besides its instances."""

    traffic: Traffic = NO_TRAFFIC
    waiting: Mapping[Role, StageLoad] = field(default_factory=dict)
    """Work that waits for a stage and is on no instance yet."""
    oldest_wait_s: float = 0.0
    """How long the head of the queues has waited for encode or prefill."""
    decode_step_s: float | None = None
    """Measured mean time between two tokens; None when nothing decodes."""


@dataclass(frozen=True, slots=True)
class ClusterState:
    """The whole input of a tick, besides the time."""

    instances: tuple[InstanceState, ...]
    groups: Mapping[str, GroupState] = field(default_factory=dict)
