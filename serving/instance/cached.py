"""Encoding with a cache in front: what was made before is not made again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from saccade.encoders.base import Prepared, VisualFeatures
from saccade.serving.caches.flight import SingleFlight
from saccade.serving.caches.keys import PictureId, bytes_key, pixels_key
from saccade.serving.caches.stats import Source, Tier, TierStats
from saccade.serving.caches.tokens import prepared_hash
from saccade.serving.caches.visual import Found, VisualTokenCache
from saccade.serving.instance.encoding import EncodedPicture, EncodeStage
from saccade.serving.media.sampling import ClipHeader


@dataclass(frozen=True, slots=True)
class Delivered:
    """Features of one request's picture, unpruned, and what they took this time."""

    features: VisualFeatures
    source: Source
    preprocess_ms: float
    encode_ms: float
    cost_ms: float
    """What making them takes, or took, in both stages and without queues."""

    @property
    def saved_ms(self) -> float:
        """Work that a tier has spared; 0 for what was made, or waited for."""
        if self.source in ("encoded", "joined"):
            return 0.0
        return max(0.0, self.cost_ms - self.preprocess_ms)


class CachedEncodeStage:
    """An `EncodeStage`, with a cache of what it made."""

    def __init__(self, stage: EncodeStage, cache: VisualTokenCache | None, revision: str) -> None:
        """`revision` is the encoder's; `cache` is None where none is kept."""
        self._stage = stage
        self._cache = cache
        self.revision = revision
        self._by_bytes: SingleFlight[Delivered] = SingleFlight()
        self._by_pixels: SingleFlight[EncodedPicture] = SingleFlight()

    async def encode(self, data: bytes, picture: PictureId | None) -> Delivered:
        """Features of one picture; one without an id is encoded, and not kept.

        Raises:
            InvalidRequestError: the pixels cannot be decoded.
        """
        return await self._deliver(picture, lambda: self._stage.preprocess(data))

    async def encode_clip(
        self, files: Sequence[bytes], header: ClipHeader, picture: PictureId | None
    ) -> Delivered:
        """The same of a clip: a video file, or as many pictures as the header has frames."""
        return await self._deliver(picture, lambda: self._stage.preprocess_clip(files, header))

    def known(self) -> frozenset[str]:
        """Files whose visual tokens are kept, by `bytes_key`."""
        return frozenset() if self._cache is None else self._cache.known()

    async def clear(self, owner: str | None) -> int:
        """Forget what is kept, or what is one owner's; returns how many entries that were."""
        return 0 if self._cache is None else await self._cache.clear(owner)

    def stats(self) -> dict[Tier, TierStats]:
        """Empty where nothing is kept."""
        return {} if self._cache is None else self._cache.stats()

    def close(self) -> None:
        self._stage.close()
        if self._cache is not None:
            self._cache.close()

    async def _deliver(
        self, picture: PictureId | None, preprocess: Callable[[], Prepared]
    ) -> Delivered:
        cache = self._cache
        if picture is None or cache is None:
            return _made(await self._stage.run(preprocess))
        alias = bytes_key(picture, self.revision)
        work = _Work(picture.owner, alias, preprocess)
        delivered, joined = await self._by_bytes.run(alias, lambda: self._find(cache, work))
        return _joined(delivered, preprocess_ms=0.0) if joined else delivered

    async def _find(self, cache: VisualTokenCache, work: "_Work") -> Delivered:
        key = cache.key(work.alias)
        if key is not None and (found := await cache.find(key)):
            return _found(found, preprocess_ms=0.0)
        (prepared, key), preprocess_ms, compute_ms = await self._stage.prepare(
            lambda: self._identified(work)
        )
        if found := await cache.find(key):
            # Another file, the same pixels.
            cache.add_alias(work.alias, key)
            return _found(found, preprocess_ms)
        encoded, joined = await self._by_pixels.run(
            key, lambda: self._stage.encode_prepared(prepared)
        )
        encoded = replace(
            encoded, preprocess_ms=preprocess_ms, compute_ms=compute_ms + encoded.compute_ms
        )
        if joined:
            cache.add_alias(work.alias, key)
            return _joined(_made(encoded), preprocess_ms)
        cache.put(
            key,
            encoded.features,
            owner=work.owner,
            alias=work.alias,
            cost_ms=encoded.compute_ms,
        )
        return _made(encoded)

    def _identified(self, work: "_Work") -> tuple[Prepared, str]:
        prepared = work.preprocess()
        return prepared, pixels_key(work.owner, self.revision, prepared_hash(prepared))


@dataclass(frozen=True, slots=True)
class _Work:
    owner: str
    alias: str
    preprocess: Callable[[], Prepared]


def _made(encoded: EncodedPicture) -> Delivered:
    return Delivered(
        encoded.features,
        "encoded",
        encoded.preprocess_ms,
        encoded.encode_ms,
        encoded.compute_ms,
    )


def _joined(delivered: Delivered, preprocess_ms: float) -> Delivered:
    return replace(delivered, source="joined", preprocess_ms=preprocess_ms)


def _found(found: Found, preprocess_ms: float) -> Delivered:
    return Delivered(found.features, found.tier, preprocess_ms, 0.0, found.cost_ms)
