"""Stages preprocess and encode of an instance: pictures in, visual tokens and what is seen out."""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from saccade.encoders.base import Prepared, VisualFeatures
from saccade.encoders.features import FeatureEncoder
from saccade.serving.instance.batching import BatchQueue
from saccade.serving.media.clip_decode import decode_clip, decode_frames
from saccade.serving.media.decode import decode
from saccade.serving.media.sampling import ClipHeader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """Features on the CPU, and the time that each stage took, its queue included."""

    features: VisualFeatures
    preprocess_ms: float
    encode_ms: float
    compute_ms: float
    """Of both stages without their queues: what doing it again would take."""


@dataclass(frozen=True, slots=True)
class _Timed(Generic[T]):
    result: T
    ms: float


@dataclass(slots=True, eq=False)
class _Waiting:
    prepared: Prepared
    result: "asyncio.Future[_Timed[VisualFeatures]]" = field(default_factory=asyncio.Future)


class EncodeStage:
    """Preprocesses in threads and encodes in batches, both beside the event loop.

    Pictures that arrive while a batch is being encoded form the next batch.
    """

    def __init__(
        self, encoder: FeatureEncoder, *, threads: int, max_patches: int, max_pixels: int
    ) -> None:
        self._encoder = encoder
        self._max_pixels = max_pixels
        self._waiting = BatchQueue[_Waiting](lambda one: one.prepared.num_patches, max_patches)
        self._preprocess_pool = ThreadPoolExecutor(threads, thread_name_prefix="preprocess")
        self._encode_pool = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._loop = asyncio.create_task(self._encode_batches())

    async def encode(self, data: bytes) -> EncodedPicture:
        """Encode one picture.

        Raises:
            InvalidRequestError: the pixels cannot be decoded.
        """
        return await self.run(lambda: self.preprocess(data))

    async def encode_clip(self, files: Sequence[bytes], header: ClipHeader) -> EncodedPicture:
        """Encode one clip: a video file, or as many pictures as the header has frames.

        Raises:
            InvalidRequestError: the frames cannot be decoded.
        """
        return await self.run(lambda: self.preprocess_clip(files, header))

    async def run(self, preprocess: Callable[[], Prepared]) -> EncodedPicture:
        """Both stages of what `preprocess` makes, which runs in a thread."""
        prepared, preprocess_ms, compute_ms = await self.prepare(preprocess)
        encoded = await self.encode_prepared(prepared)
        return EncodedPicture(
            encoded.features,
            preprocess_ms,
            encoded.encode_ms,
            compute_ms + encoded.compute_ms,
        )

    async def prepare(self, preprocess: Callable[[], T]) -> tuple[T, float, float]:
        """What `preprocess` makes in a thread; milliseconds with the queue, and without."""
        started = time.perf_counter()
        done = await self._in(self._preprocess_pool, lambda: _timed(preprocess))
        return done.result, (time.perf_counter() - started) * 1e3, done.ms

    async def encode_prepared(self, prepared: Prepared) -> EncodedPicture:
        """The second stage alone."""
        started = time.perf_counter()
        waiting = _Waiting(prepared)
        self._waiting.put(waiting)
        done = await waiting.result
        encode_ms = (time.perf_counter() - started) * 1e3
        return EncodedPicture(done.result, 0.0, encode_ms, done.ms)

    def close(self) -> None:
        self._loop.cancel()
        self._preprocess_pool.shutdown(wait=False, cancel_futures=True)
        self._encode_pool.shutdown(wait=False, cancel_futures=True)

    def preprocess(self, data: bytes) -> Prepared:
        """Of one picture, in this thread."""
        return self._encoder.preprocess(decode(data, self._max_pixels))

    def preprocess_clip(self, files: Sequence[bytes], header: ClipHeader) -> Prepared:
        """Of one clip, in this thread."""
        if header.is_file:
            frames = decode_clip(files[0], header)
        else:
            frames = decode_frames(files, self._max_pixels)
        return self._encoder.preprocess_clip(frames, header.frames_per_s)

    def _encode(self, prepared: list[Prepared]) -> list[VisualFeatures]:
        return [features.on_cpu() for features in self._encoder.encode(prepared)]

    async def _encode_batches(self) -> None:
        while True:
            # Whoever was cancelled meanwhile needs no encoding.
            batch = [one for one in await self._waiting.take() if not one.result.done()]
            if batch:
                await self._encode_batch(batch)

    async def _encode_batch(self, batch: list[_Waiting]) -> None:
        prepared = [waiting.prepared for waiting in batch]
        try:
            work = functools.partial(_timed, lambda: self._encode(prepared))
            encoded = await self._in(self._encode_pool, work)
        except Exception as error:
            for waiting in batch:
                if not waiting.result.done():
                    waiting.result.set_exception(error)
            return
        num_patches = sum(one.num_patches for one in prepared)
        for waiting, visual_tokens in zip(batch, encoded.result, strict=True):
            if not waiting.result.done():
                share_ms = encoded.ms * waiting.prepared.num_patches / num_patches
                waiting.result.set_result(_Timed(visual_tokens, share_ms))

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


def _timed(work: Callable[[], T]) -> _Timed[T]:
    started = time.perf_counter()
    result = work()
    return _Timed(result, (time.perf_counter() - started) * 1e3)
