"""Stages preprocess and encode as the gateway sees them: references to visual tokens.

A reference is looked for where it costs least: kept here from an earlier request (the tier
`shared`: the tokens lie in Ray's object store), under way for another request, and only then from
an encode instance, which has tiers of its own.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from saccade.scheduler.placement import place
from saccade.scheduler.requests import RequestShape, VisualItem
from saccade.serving.caches.eviction import Entry, eviction
from saccade.serving.caches.flight import SingleFlight
from saccade.serving.caches.keys import PictureId, bytes_key, cache_salt, visual_key
from saccade.serving.caches.memory import MemoryTier
from saccade.serving.caches.stats import Source, Tier, TierStats
from saccade.serving.config.visual_cache import VisualCacheConfig
from saccade.serving.errors import InvalidRequestError
from saccade.serving.gateway.context import PendingPicture, Reference, RequestContext
from saccade.serving.gateway.instances import Encoded, InstanceError, Instances, in_time
from saccade.serving.gateway.metrics import GatewayMetrics
from saccade.serving.gateway.visual_metrics import GATEWAY
from saccade.serving.media.load import Embeds

# Who encoded a picture is remembered for so many pictures; forgetting costs a second encoding.
MAX_HOLDERS = 65_536


class VisualTokenSource:
    """References to the visual tokens of requests' pictures."""

    def __init__(
        self,
        instances: Instances,
        metrics: GatewayMetrics,
        config: VisualCacheConfig,
        *,
        model: str,
        stage_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._instances = instances
        self._metrics = metrics
        self._enabled = config.enabled
        self._model = model
        self._stage_timeout_s = stage_timeout_s
        self._clock = clock
        self._shared: MemoryTier[Encoded] = MemoryTier(
            config.shared_bytes, eviction(config.eviction)
        )
        self._flights: SingleFlight[tuple[str, Encoded]] = SingleFlight()
        self._holders: OrderedDict[str, str] = OrderedDict()
        metrics.visual_cache.watch_gateway(self.stats)

    async def references(self, context: RequestContext) -> list[Reference]:
        """In the order of the pictures; found or encoded once a request."""
        if not context.pictures:
            return []
        if context.encoded is None:
            context.encoded = asyncio.create_task(self._all(context))
        # The request's other answers go on when one is cancelled; the guard ends the task.
        return await asyncio.shield(context.encoded)

    async def again(self, context: RequestContext) -> list[Reference]:
        """New references, when what one of the old ones stood for exists no more."""
        for pending in context.pictures:
            self._shared.remove(self._key(context, pending))
        context.encoded = None
        return await self.references(context)

    async def clear(self, owner: str | None = None) -> int:
        """Forget what all tiers keep, or what is one owner's; returns the number of entries.

        Raises:
            InstanceError: an instance does not answer.
        """
        num_entries = len(self._shared.clear(owner))
        encoders = [one for one in self._instances.values() if "encode" in one.resident]
        clears = [one.client.clear_visual_cache(owner) for one in encoders if one.alive]
        return num_entries + sum(await asyncio.gather(*clears))

    def stats(self) -> dict[Tier, TierStats]:
        return {"shared": self._shared.stats()} if self._enabled else {}

    async def _all(self, context: RequestContext) -> list[Reference]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._reference(context, pending))
                    for pending in context.pictures
                ]
        except* Exception as failures:
            first = failures.exceptions[0]
        else:
            context.kept = [task.result() for task in tasks]
            return context.kept
        raise first

    async def _reference(self, context: RequestContext, pending: PendingPicture) -> Reference:
        if isinstance(pending.picture, Embeds):
            # They came with the request: there is nothing to encode, and no reference.
            self._metrics.visual_tokens.labels("kept").inc(pending.num_visual_tokens)
            return Reference(pending.given, pending.num_visual_tokens)
        if not self._enabled or context.pinned is not None:
            name, encoded = await self._encode(context, pending, None)
            return self._recorded(context, pending, name, encoded, encoded.source)
        key = self._key(context, pending)
        if held := self._shared.get(key):
            self._metrics.visual_cache.count("shared", held[0].cost_ms)
            context.record("encode", GATEWAY, 0.0, "shared")
            return self._counted(pending, held[0])
        started = self._clock()
        try:
            (name, encoded), joined = await self._flights.run(
                key, lambda: self._encode_and_keep(context, pending, key)
            )
        except InvalidRequestError as error:
            # It may be another request that has sent the same picture.
            param = pending.picture.param
            raise InvalidRequestError(error.message, param=param, code=error.code) from error
        if not joined:
            self._metrics.visual_cache.count(encoded.source, encoded.saved_ms)
            return self._recorded(context, pending, name, encoded, encoded.source)
        self._metrics.visual_cache.count("joined", 0.0)
        context.record("encode", name, (self._clock() - started) * 1e3, "joined")
        return self._counted(pending, encoded)

    async def _encode_and_keep(
        self, context: RequestContext, pending: PendingPicture, key: str
    ) -> tuple[str, Encoded]:
        owner = cache_salt(context.tenant)
        picture = PictureId(owner, pending.picture.content_hash)
        name, encoded = await self._encode(context, pending, picture)
        self._shared.put(Entry(key, encoded.num_bytes, encoded.cost_ms, owner), encoded)
        return name, encoded

    async def _encode(
        self, context: RequestContext, pending: PendingPicture, picture: PictureId | None
    ) -> tuple[str, Encoded]:
        """By an instance, from its cache or anew."""
        assert not isinstance(pending.picture, Embeds), "they are encoded"
        name = self._placed(context, pending)
        instance = self._instances[name]
        with instance.working("encode"):
            order = None if pending.pruning is None else pending.pruning.order
            call = instance.client.encode(pending.picture, picture, order)
            encoded = await in_time(name, "encode", call, self._stage_timeout_s)
        if not _as_planned(encoded.num_visual_tokens, pending):
            raise InstanceError(
                name,
                f"{encoded.num_visual_tokens} visual tokens for {pending.picture.param}, "
                f"{pending.num_reserved} expected",
            )
        if len(encoded.step_counts) != len(pending.stamps_s):
            raise InstanceError(
                name,
                f"{len(encoded.step_counts)} steps apart for {pending.picture.param}, "
                f"{len(pending.stamps_s)} expected",
            )
        return name, encoded

    def _placed(self, context: RequestContext, pending: PendingPicture) -> str:
        """Where the picture was encoded before, or wherever the queue is shortest."""
        if context.pinned and context.pinned.encode:
            return _chosen(*context.pinned.encode)
        key = self._unpruned_key(context, pending)
        shape = RequestShape(
            context.key,
            "image",
            visual=(VisualItem(key, pending.num_visual_tokens),),
            tenant=context.tenant,
        )
        holder = self._holder(context, pending, key) if self._enabled else None
        index = self._instances.index({} if holder is None else {key: holder})
        [name] = place(index, shape, ("encode",)).sources
        self._remember(key, _chosen(name))
        return _chosen(name)

    def _holder(self, context: RequestContext, pending: PendingPicture, key: str) -> str | None:
        """Who had the picture last, or, before anybody has, on its disk."""
        if known := self._holders.get(key):
            return known
        picture = PictureId(cache_salt(context.tenant), pending.picture.content_hash)
        for name, instance in self._instances.items():
            kept = instance.kept_at_start
            if kept and instance.alive and bytes_key(picture, instance.encoder_revision) in kept:
                return name
        return None

    def _remember(self, key: str, name: str) -> None:
        self._holders[key] = name
        self._holders.move_to_end(key)
        if len(self._holders) > MAX_HOLDERS:
            self._holders.popitem(last=False)

    def _recorded(
        self,
        context: RequestContext,
        pending: PendingPicture,
        name: str,
        encoded: Encoded,
        source: Source,
    ) -> Reference:
        seconds = self._metrics.stage_seconds
        if encoded.preprocess_ms:
            context.record("preprocess", name, encoded.preprocess_ms)
            seconds.labels("preprocess").observe(encoded.preprocess_ms / 1e3)
        if source == "encoded":
            context.record("encode", name, encoded.encode_ms)
            seconds.labels("encode").observe(encoded.encode_ms / 1e3)
        else:
            context.record("encode", name, encoded.encode_ms, source)
        if encoded.reports:
            context.record("prune", name, encoded.prune_ms)
            seconds.labels("prune").observe(encoded.prune_ms / 1e3)
        return self._counted(pending, encoded)

    def _counted(self, pending: PendingPicture, encoded: Encoded) -> Reference:
        self._metrics.visual_tokens.labels("in").inc(pending.num_visual_tokens)
        self._metrics.visual_tokens.labels("kept").inc(encoded.num_visual_tokens)
        return Reference(
            encoded.reference, encoded.num_visual_tokens, encoded.reports, encoded.step_counts
        )

    def _key(self, context: RequestContext, pending: PendingPicture) -> str:
        """Of the tokens that are kept."""
        return visual_key(
            tenant=context.tenant,
            model=self._model,
            content_hash=pending.picture.content_hash,
            num_visual_tokens=pending.num_reserved,
            pruning=pending.pruning_key,
        )

    def _unpruned_key(self, context: RequestContext, pending: PendingPicture) -> str:
        """Of what an encode instance keeps."""
        return visual_key(
            tenant=context.tenant,
            model=self._model,
            content_hash=pending.picture.content_hash,
            num_visual_tokens=pending.num_visual_tokens,
        )


def _as_planned(num_tokens: int, pending: PendingPicture) -> bool:
    """The prompt has room for exactly the number that was counted, or at most for it."""
    if pending.pruning is None or pending.pruning.is_exact:
        return num_tokens == pending.num_reserved
    return 0 < num_tokens <= pending.num_reserved


def _chosen(name: str | None) -> str:
    assert name is not None, "a stage was not placed"
    return name
