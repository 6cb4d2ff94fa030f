"""What dispatch needs of an instance, whatever carries the calls."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from saccade.scheduler.cluster import InstanceState, Role, StageLoad
from saccade.scheduler.cost_model import UNIT
from saccade.scheduler.index import PlacementIndex
from saccade.scheduler.policy import ONE_POOL
from saccade.serving.media.load import Encodable
from saccade.serving.transport.instance_pb2 import GenerateChunk, GenerateRequest, Prompt


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture's or clip's visual tokens, as a reference that only instances look into."""

    reference: Any
    num_visual_tokens: int
    preprocess_ms: float
    encode_ms: float


class InstanceClient(Protocol):
    """Calls to one instance. All raise `InstanceError` when the instance fails."""

    async def encode(self, picture: Encodable) -> Encoded: ...

    async def stage_visual_tokens(self, request_key: str, references: Sequence[Any]) -> None:
        """Make visual tokens available to the next `prefill` or `generate` of this key.

        They are named by reference, but for those that came with the request.
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


@dataclass(slots=True, eq=False)
class Instance:
    """An instance as one gateway sees it."""

    name: str
    client: InstanceClient
    resident: frozenset[Role]
    roles: frozenset[Role]
    alive: bool = True
    load: dict[Role, int] = field(default_factory=dict)

    def state(self) -> InstanceState:
        load = {role: StageLoad(num, float(num), num) for role, num in self.load.items()}
        return InstanceState(self.name, self.resident, self.roles, load=load)

    @contextmanager
    def working(self, role: Role) -> Iterator[None]:
        """Counts one request in `role` while it is being worked on."""
        self.load[role] = self.load.get(role, 0) + 1
        try:
            yield
        finally:
            self.load[role] -= 1


class Instances(dict[str, Instance]):
    """All instances by name."""

    def states(self) -> list[InstanceState]:
        """Those that may get work."""
        return [instance.state() for instance in self.values() if instance.alive]

    def index(self) -> PlacementIndex:
        """For one placement. Queues are in numbers of requests: no stage has been timed here."""
        return PlacementIndex(ONE_POOL, UNIT, self.states())
