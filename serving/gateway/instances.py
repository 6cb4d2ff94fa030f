"""What dispatch needs of an instance, whatever carries the calls."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from saccade.scheduler.cluster import InstanceState, Role, StageLoad
from saccade.scheduler.cost_model import UNIT, CostModel
from saccade.scheduler.index import PlacementIndex
from saccade.scheduler.policy import ONE_POOL
from saccade.scheduler.requests import PrefixKey
from saccade.serving.caches.block_events import KvEventSource
from saccade.serving.caches.keys import PictureId
from saccade.serving.caches.stats import Source
from saccade.serving.media.load import Encodable
from saccade.serving.transport.instance_pb2 import GenerateChunk, GenerateRequest, Prompt

if TYPE_CHECKING:
    from saccade.encoders.pruning.stage import Report
    from saccade.serving.instance.pruning import PruningOrder

T = TypeVar("T")
_NOBODY: Final[Mapping[str, str]] = MappingProxyType({})
_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture's or clip's visual tokens, as a reference that only instances look into."""

    reference: Any
    num_visual_tokens: int
    """After pruning."""
    preprocess_ms: float
    """0 for a stage that did not run."""
    encode_ms: float
    source: Source = "encoded"
    num_bytes: int = 0
    cost_ms: float = 0.0
    """What making them took, without queues."""
    saved_ms: float = 0.0
    """What a cache has spared."""
    prune_ms: float = 0.0
    reports: "Sequence[Report]" = ()
    """What pruning did."""
    step_counts: tuple[int, ...] = ()
    """Of each step of a clip whose steps stand apart in the prompt."""


class InstanceClient(Protocol):
    """Calls to one instance. All raise `InstanceError` when the instance fails."""

    async def encode(
        self, picture: Encodable, identity: PictureId | None, pruning: "PruningOrder | None"
    ) -> Encoded:
        """Visual tokens of a picture; without an identity, no cache is asked."""
        ...

    async def clear_visual_cache(self, owner: str | None) -> int:
        """Forget what is kept, or what is one owner's; returns how many entries that were."""
        ...

    async def stage_visual_tokens(self, request_key: str, references: Sequence[Any]) -> None:
        """Make visual tokens available to the next `prefill` or `generate` of this key.

        They are named by reference, but for those that came with the request.
        Raises `LostVisualTokensError` when one of them exists no more.
        """
        ...

    async def prefill(self, request_key: str, prompt: Prompt) -> tuple[bytes, float]:
        """Returns the hand-over and its lease in seconds."""
        ...

    def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]: ...

    async def abort(self, request_key: str) -> None:
        """End a prefill that is running; nothing happens when it is done."""
        ...

    async def release(self, request_key: str, handover: bytes) -> bool:
        """Give up a held prefill; False when this instance has begun to pull it already."""
        ...


class InstanceError(Exception):
    """An instance failed; asking again may reach another."""

    def __init__(self, instance: str, reason: str) -> None:
        super().__init__(f"{instance}: {reason}")
        self.instance = instance
        self.reason = reason


class LostVisualTokensError(InstanceError):
    """What a reference stood for has gone, with the node that held it."""


async def in_time(instance: str, what: str, call: Awaitable[T], timeout_s: float) -> T:
    """The result of a call; InstanceError when it takes longer than `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            return await call
    except TimeoutError:
        raise InstanceError(instance, f"{what} took longer than {timeout_s:g} s") from None


@dataclass(slots=True, eq=False)
class Instance:
    """An instance as one gateway sees it."""

    name: str
    client: InstanceClient
    resident: frozenset[Role]
    roles: frozenset[Role]
    alive: bool = True
    encoder_revision: str = ""
    kept_at_start: frozenset[str] = frozenset()
    """Files whose visual tokens were on its disk when it started, by `caches.keys.bytes_key`."""
    kv_events: KvEventSource | None = None
    """Where its engine says which KV blocks it holds, if it does."""
    load: dict[Role, int] = field(default_factory=dict)
    num_begun: int = 0
    """Stages of requests, since it started."""

    def state(
        self,
        visual_cache: frozenset[str] = frozenset(),
        prefix_cache: frozenset[str] = frozenset(),
    ) -> InstanceState:
        load = {role: StageLoad(num, float(num), num) for role, num in self.load.items()}
        return InstanceState(
            self.name,
            self.resident,
            self.roles,
            load=load,
            visual_cache=visual_cache,
            prefix_cache=prefix_cache,
        )

    @contextmanager
    def working(self, role: Role) -> Iterator[Callable[[], bool]]:
        """Counts one request in `role` while it is being worked on.

        Yields:
            Whether it has had the instance to itself so far.
        """
        self.load[role] = self.load.get(role, 0) + 1
        self.num_begun += 1
        first, number = sum(self.load.values()) == 1, self.num_begun
        try:
            yield lambda: first and self.num_begun == number
        finally:
            self.load[role] -= 1


class Instances(dict[str, Instance]):
    """All instances by name."""

    def states(self) -> list[InstanceState]:
        """Those that may get work."""
        return [instance.state() for instance in self.values() if instance.alive]

    def index(
        self,
        holders: Mapping[str, str] = _NOBODY,
        held_tokens: Mapping[str, int] = _NOTHING,
        cost_model: CostModel = UNIT,
    ) -> PlacementIndex:
        """For one placement. Queues are in numbers of requests: no stage has been timed here.

        `holders` says for keys of visual tokens, those of the request at hand, who holds them;
        `held_tokens`, how many tokens of its prompt instances have in their prefix caches.
        """
        if not holders and not held_tokens:
            return PlacementIndex(ONE_POOL, cost_model, self.states())
        prefixes = prefix_keys(held_tokens)
        states = [
            instance.state(
                frozenset(key for key, name in holders.items() if name == instance.name),
                frozenset(
                    one.key for one in prefixes if one.tokens <= held_tokens.get(instance.name, 0)
                ),
            )
            for instance in self.values()
            if instance.alive
        ]
        return PlacementIndex(ONE_POOL, cost_model, states)


def prefix_keys(held_tokens: Mapping[str, int]) -> tuple[PrefixKey, ...]:
    """The beginnings of one prompt that somebody holds, shortest first."""
    return tuple(PrefixKey(str(tokens), tokens) for tokens in sorted(set(held_tokens.values())))
