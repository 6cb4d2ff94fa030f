"""A small cluster that keeps books: who called what, and how each hand-over ended."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from prometheus_client import CollectorRegistry

from saccade.encoders.base import VisualTokens
from saccade.scheduler.cluster import Role
from saccade.scheduler.roles import initial_roles
from saccade.serving.caches.keys import PictureId
from saccade.serving.config.prefix_index import PrefixIndexConfig
from saccade.serving.config.visual_cache import VisualCacheConfig
from saccade.serving.gateway.ahead import TextAhead
from saccade.serving.gateway.context import PendingPicture, RequestContext
from saccade.serving.gateway.dispatch import Answer, Dispatcher
from saccade.serving.gateway.instances import (
    Encoded,
    Instance,
    InstanceError,
    Instances,
    LostVisualTokensError,
)
from saccade.serving.gateway.metrics import GatewayMetrics
from saccade.serving.gateway.placing import PlacementName, Placer
from saccade.serving.gateway.prefixes import PrefixCaches
from saccade.serving.gateway.visual import VisualTokenSource
from saccade.serving.instance.pruning import PruningOrder
from saccade.serving.media.inspect import PictureHeader
from saccade.serving.media.load import Embeds, Encodable, Picture
from saccade.serving.media.parts import EmbedsPart, PicturePart
from saccade.serving.transport.instance_pb2 import GenerateChunk, GenerateRequest, Prompt

LEASE_S = 30.0
TOKENS = (7, 8, 9)
NUM_VISUAL_TOKENS = 64
NUM_BYTES = 1000
AHEAD_TOKENS = 64

Pull = Literal["works", "fails", "refused", "dies"]
"""What `generate` does: works, ends with an error chunk after it began to pull, raises before that,
raises in the middle of the answer."""


@dataclass(slots=True)
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Steps:
    """Every place where a fake waits; `at` is called when the place of that number is reached."""

    def __init__(self, at: int | None = None, act: Callable[[], object] | None = None) -> None:
        self.names: list[str] = []
        self._at = at
        self._act = act

    async def reach(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) - 1 == self._at and self._act is not None:
            self._act()
        await asyncio.sleep(0)


@dataclass(slots=True)
class Ledger:
    """What the prefilling instances hold, and how each of it ended."""

    granted: list[bytes] = field(default_factory=list)
    endings: dict[bytes, list[str]] = field(default_factory=dict)

    def grant(self) -> bytes:
        handover = f"handover-{len(self.granted)}".encode()
        self.granted.append(handover)
        self.endings[handover] = []
        return handover

    def end(self, handover: bytes, how: str) -> bool:
        """As an instance does: False for one that has ended before."""
        if self.endings[handover]:
            return False
        self.endings[handover].append(how)
        return True

    def count(self) -> Counter[str]:
        """Endings by kind; "held" for what never ended."""
        return Counter(how for ended in self.endings.values() for how in ended or ["held"])


@dataclass(slots=True)
class Script:
    """How the fakes behave."""

    pulls: Sequence[Pull] = ()
    """By attempt; the rest works."""
    num_visual_tokens: int = NUM_VISUAL_TOKENS
    step_counts: tuple[int, ...] = ()
    stage_delays_s: Sequence[float] = ()
    """How much later it is after each staging of visual tokens on a decode instance."""
    hang: str | None = None
    """The step that never ends."""
    releases_fail: bool = False
    lost_stagings: int = 0
    """So many fail because visual tokens exist no more."""


@dataclass(slots=True)
class World:
    """What all fakes of a test share."""

    script: Script = field(default_factory=Script)
    steps: Steps = field(default_factory=Steps)
    ledger: Ledger = field(default_factory=Ledger)
    clock: Clock = field(default_factory=Clock)
    calls: list[tuple[str, str]] = field(default_factory=list)
    """(instance, method), in order."""
    takes_s: dict[str, float] = field(default_factory=dict)
    """How long a step takes on the clock."""
    open_streams: int = 0
    num_pulls: int = 0
    num_stagings: int = 0

    async def step(self, name: str) -> None:
        if self.script.hang == name:
            await asyncio.Event().wait()
        self.clock.now_s += self.takes_s.get(name, 0.0)
        await self.steps.reach(name)

    def count(self, method: str, instance: str | None = None) -> int:
        return sum(called == method and instance in (None, name) for name, called in self.calls)


class FakeInstance:
    """Implements `serving.gateway.instances.InstanceClient`."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world
        self.staged: dict[str, Sequence[Any]] = {}
        self.identities: list[PictureId | None] = []
        self.orders: list[PruningOrder | None] = []
        self.seen: list[tuple[str, Sequence[Any]]] = []
        """(answer key, visual tokens) of each prefill and generate."""

    async def encode(
        self, picture: Encodable, identity: PictureId | None, pruning: PruningOrder | None
    ) -> Encoded:
        self._call("encode")
        self.identities.append(identity)
        self.orders.append(pruning)
        await self.world.step("encoding")
        return Encoded(
            f"tokens of {picture.param}",
            self.world.script.num_visual_tokens,
            2.0,
            3.0,
            num_bytes=NUM_BYTES,
            cost_ms=5.0,
            step_counts=self.world.script.step_counts,
        )

    async def clear_visual_cache(self, owner: str | None) -> int:
        self._call("clear")
        return 1

    async def stage_visual_tokens(self, request_key: str, references: Sequence[Any]) -> None:
        self._call("stage")
        await self.world.step(f"staging on {self.name}")
        if self.world.script.lost_stagings:
            self.world.script.lost_stagings -= 1
            raise LostVisualTokensError(self.name, "its node has gone")
        if self.name.startswith("decode"):
            delays = self.world.script.stage_delays_s
            if self.world.num_stagings < len(delays):
                self.world.clock.now_s += delays[self.world.num_stagings]
            self.world.num_stagings += 1
        self.staged[request_key] = references

    async def prefill(self, request_key: str, prompt: Prompt) -> tuple[bytes, float]:
        self._call("prefill")
        await self.world.step("prefilling")
        self._take(request_key)
        handover = self.world.ledger.grant()
        await self.world.step("prefilled")
        return handover, LEASE_S

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]:
        self._call("generate")
        self.world.open_streams += 1
        try:
            await self.world.step("calling generate")
            pull = self._next_pull()
            if pull == "refused":
                raise InstanceError(self.name, "refused")
            if request.handover and not self.world.ledger.end(request.handover, "pulled"):
                raise InstanceError(self.name, "the hand-over was used before")
            self._take(request.request_key)
            await self.world.step("before the first chunk")
            if pull == "fails":
                yield GenerateChunk(finish_reason="error")
                return
            for token in TOKENS:
                yield GenerateChunk(token_ids=[token], text=f"{token} ")
                await self.world.step("between chunks")
                if pull == "dies":
                    raise InstanceError(self.name, "died")
            yield GenerateChunk(finish_reason="stop")
        finally:
            self.world.open_streams -= 1

    async def abort(self, request_key: str) -> None:
        self._call("abort")

    async def release(self, request_key: str, handover: bytes) -> bool:
        self._call("release")
        await self.world.step("releasing")
        if self.world.script.releases_fail:
            raise InstanceError(self.name, "unreachable")
        return self.world.ledger.end(handover, "released")

    def _call(self, method: str) -> None:
        self.world.calls.append((self.name, method))

    def _take(self, request_key: str) -> None:
        self.seen.append((request_key, self.staged.pop(request_key, ())))

    def _next_pull(self) -> Pull:
        attempt = self.world.num_pulls
        self.world.num_pulls += 1
        return (
            self.world.script.pulls[attempt] if attempt < len(self.world.script.pulls) else "works"
        )


SPLIT: dict[str, frozenset[Role]] = {
    "encode-0": frozenset({"encode"}),
    "prefill-0": frozenset({"prefill"}),
    "decode-0": frozenset({"decode"}),
}
WHOLE: dict[str, frozenset[Role]] = {
    "encode-0": frozenset({"encode"}),
    "llm-0": frozenset({"prefill", "decode"}),
}


class Cluster:
    """Instances, a dispatcher over them, and their books."""

    def __init__(
        self,
        resident: dict[str, frozenset[Role]] | None = None,
        script: Script | None = None,
        *,
        stage_timeout_s: float = 60.0,
        placement: PlacementName = "cache_aware",
        visual_cache: VisualCacheConfig = VisualCacheConfig(enabled=False),  # noqa: B008
    ) -> None:
        resident = resident or SPLIT
        self.world = World(script or Script())
        self.fakes = {name: FakeInstance(name, self.world) for name in resident}
        roles = initial_roles(resident)
        self.instances = Instances(
            {
                name: Instance(name, fake, resident[name], roles[name])
                for name, fake in self.fakes.items()
            }
        )
        self.metrics = GatewayMetrics(CollectorRegistry())
        self.visual = VisualTokenSource(
            self.instances,
            self.metrics,
            visual_cache,
            model="model",
            stage_timeout_s=stage_timeout_s,
            clock=self.world.clock,
        )
        self.prefixes = PrefixCaches(PrefixIndexConfig(), self.metrics.prefixes)
        placer = Placer(self.instances, self.prefixes, placement)
        self.ahead = TextAhead(
            self.instances, placer, min_tokens=AHEAD_TOKENS, timeout_s=stage_timeout_s
        )
        self.dispatcher = Dispatcher(
            self.instances,
            self.metrics,
            self.visual,
            placer,
            self.ahead,
            stage_timeout_s=stage_timeout_s,
            clock=self.world.clock,
        )

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"saccade_{name}", labels) or 0.0

    @property
    def load(self) -> int:
        return sum(sum(instance.load.values()) for instance in self.instances.values())

    async def answer(self, context: RequestContext, key: str = "a") -> list[GenerateChunk]:
        """All chunks of one answer; what was read before an error is lost."""
        return await collect(self.dispatcher.generate(context, an_answer(key)))

    async def until(self, work: Awaitable[object], context: RequestContext) -> None:
        """Run `work` as the guard does: whatever happens, encoding ends and releases are done."""
        try:
            await work
        finally:
            if context.encoded is not None:
                context.encoded.cancel()
                await asyncio.wait({context.encoded})
            await self.dispatcher.settle()


async def collect(chunks: AsyncGenerator[GenerateChunk, None]) -> list[GenerateChunk]:
    async with aclosing(chunks):
        return [chunk async for chunk in chunks]


def tokens(chunks: Iterable[GenerateChunk]) -> list[int]:
    return [token for chunk in chunks for token in chunk.token_ids]


def an_answer(key: str = "a", *, one_instance: bool = False) -> Answer:
    return Answer(key, Prompt(token_ids=[1, 2, 3]), b"sampling", one_instance=one_instance)


def a_request(num_pictures: int = 0, *, tenant: str = "default") -> RequestContext:
    return RequestContext(
        key="request",
        request_id="client's",
        tenant=tenant,
        deadline=1e9,
        pictures=tuple(a_picture(index) for index in range(num_pictures)),
    )


def a_picture(index: int) -> PendingPicture:
    part = PicturePart(f"messages[0].content[{index}]", "data:", 0, index)
    picture = Picture(part, b"bytes", PictureHeader("PNG", 8, 8, 1), f"hash-{index}")
    return PendingPicture(picture, NUM_VISUAL_TOKENS)


def some_embeds(index: int) -> PendingPicture:
    """A picture that the client has encoded itself."""
    part = EmbedsPart(f"messages[0].content[{index}]", {"image_embeds": ""}, 0, index)
    given = VisualTokens(cast(Any, f"tensor-{index}"), None, NUM_VISUAL_TOKENS)
    return PendingPicture(Embeds(part, {}, f"hash-{index}"), NUM_VISUAL_TOKENS, given=given)
