"""One instance: its roles, queues, batch, memory and clock of use."""

from bisect import insort
from collections import deque

from saccade.scheduler.cluster import Role
from saccade.scheduler.simulator.caches import LruCache
from saccade.scheduler.simulator.costs import Costs
from saccade.scheduler.simulator.decode import DecodeBatch
from saccade.scheduler.simulator.job import Job

# A part of the memory for KV goes to beginnings that may come again.
_PREFIX_CACHE_RATIO = 0.5

EncodeTask = tuple[Job, int, int]
"""Job, number of the picture, the job's stamp when it was queued."""


class Instance:
    """State without behaviour; `Stepper` runs its steps and `Pipeline` moves requests."""

    __slots__ = (
        "alive", "busy_s", "decode", "encode_queue", "encoding", "epoch", "group", "index",
        "joining", "kv_capacity_tokens", "kv_used_tokens", "kv_waiting", "moving", "name",
        "partial", "plan", "prefill_queue", "prefix_cache", "roles", "running", "segment",
        "stepping", "turn_encode", "visual_cache",
    )  # fmt: skip

    def __init__(self, index: int, costs: Costs) -> None:
        self.index = index
        self.name = f"i{index:04d}"
        self.roles: frozenset[Role] = frozenset()
        self.group = "all"
        self.alive = True
        self.moving = False
        self.epoch = 0
        """Changes when it fails, which voids the events of its steps."""
        self.plan = 0
        """Changes when the decode batch does, which voids the planned end of a segment."""
        self.stepping = False
        """A step with an encode or a prefill runs, or the end of a decode step is awaited."""
        self.segment = False
        """Nothing but decoding goes on, and is advanced analytically."""
        self.turn_encode = True
        self.running: list[Job] = []
        """Sequences that the current step prefills."""
        self.partial: Job | None = None
        """The sequence whose prefill has begun and needs more chunks."""
        self.encode_queue: deque[EncodeTask] = deque()
        self.encoding: EncodeTask | None = None
        self.prefill_queue: list[tuple[float, int, Job]] = []
        self.joining: list[Job] = []
        """They decode from the next step on."""
        self.kv_waiting: deque[Job] = deque()
        """They wait for room for their KV, which lies in the host's memory meanwhile."""
        self.decode = DecodeBatch(costs)
        self.kv_capacity_tokens = costs.model.kv_capacity_tokens()
        self.kv_used_tokens = 0
        traits = costs.traits
        self.visual_cache = LruCache(traits.visual_cache_tokens)
        prefix_tokens = int(self.kv_capacity_tokens * _PREFIX_CACHE_RATIO)
        self.prefix_cache = LruCache(prefix_tokens if traits.prefix_cache else 0)
        self.busy_s: dict[Role, float] = {"encode": 0.0, "prefill": 0.0}

    @property
    def open(self) -> bool:
        """It takes new work."""
        return self.alive and not self.moving

    @property
    def kv_free_tokens(self) -> int:
        return self.kv_capacity_tokens - self.kv_used_tokens

    @property
    def num_decoding(self) -> int:
        return len(self.decode) + len(self.joining)

    def serves(self, role: Role) -> bool:
        return self.alive and not self.moving and role in self.roles

    def reserve_kv(self, job: Job) -> None:
        """Set memory aside for all tokens that it will have."""
        job.kv_holder, job.kv_reserved = self.index, True
        self.kv_used_tokens += job.kv_tokens

    def release_kv(self, job: Job) -> None:
        if job.kv_reserved:
            self.kv_used_tokens -= job.kv_tokens
        job.kv_holder, job.kv_reserved = -1, False

    def queue_prefill(self, order: float, job: Job) -> None:
        insort(self.prefill_queue, (order, job.key, job))

    def decode_jobs(self) -> list[Job]:
        return [*self.decode.jobs(), *self.joining]

    @property
    def empty(self) -> bool:
        """Nothing runs, waits or decodes on it."""
        return not (
            self.stepping or self.segment or self.encode_queue or self.prefill_queue
            or self.joining or self.kv_waiting or len(self.decode) or self.partial
        )  # fmt: skip

    @property
    def total_busy_s(self) -> dict[Role, float]:
        return {**self.busy_s, "decode": self.decode.busy_s}
