"""Stages preprocess and encode of an instance: pictures in, visual tokens out."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from saccade.encoders.base import Prepared, VisionEncoder, VisualTokens
from saccade.serving.instance.batching import BatchQueue
from saccade.serving.media.clip_decode import decode_clip, decode_frames
from saccade.serving.media.decode import decode
from saccade.serving.media.sampling import ClipHeader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """Visual tokens on the CPU, and the time that each stage took."""

    visual_tokens: VisualTokens
    preprocess_ms: float
    encode_ms: float


@dataclass(slots=True, eq=False)
class _Waiting:
    prepared: Prepared
    result: "asyncio.Future[VisualTokens]" = field(default_factory=asyncio.Future)


class EncodeStage:
    """Preprocesses in threads and encodes in batches, both beside the event loop.

    Pictures that arrive while a batch is being encoded form the next batch.
    """

    def __init__(
        self, encoder: VisionEncoder, *, threads: int, max_patches: int, max_pixels: int
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
        return await self._through(lambda: self._preprocess(data))

    async def encode_clip(self, files: Sequence[bytes], header: ClipHeader) -> EncodedPicture:
        """Encode one clip: a video file, or as many pictures as the header has frames.

        Raises:
            InvalidRequestError: the frames cannot be decoded.
        """
        return await self._through(lambda: self._preprocess_clip(files, header))

    async def _through(self, preprocess: Callable[[], Prepared]) -> EncodedPicture:
        started = time.perf_counter()
        prepared = await self._in(self._preprocess_pool, preprocess)
        preprocessed = time.perf_counter()
        waiting = _Waiting(prepared)
        self._waiting.put(waiting)
        visual_tokens = await waiting.result
        encoded = time.perf_counter()
        return EncodedPicture(
            visual_tokens, (preprocessed - started) * 1e3, (encoded - preprocessed) * 1e3
        )

    def close(self) -> None:
        self._loop.cancel()
        self._preprocess_pool.shutdown(wait=False, cancel_futures=True)
        self._encode_pool.shutdown(wait=False, cancel_futures=True)

    def _preprocess(self, data: bytes) -> Prepared:
        return self._encoder.preprocess(decode(data, self._max_pixels))

    def _preprocess_clip(self, files: Sequence[bytes], header: ClipHeader) -> Prepared:
        if header.is_file:
            frames = decode_clip(files[0], header)
        else:
            frames = decode_frames(files, self._max_pixels)
        return self._encoder.preprocess_clip(frames, header.frames_per_s)

    def _encode(self, prepared: list[Prepared]) -> list[VisualTokens]:
        return [tokens.on_cpu() for tokens in self._encoder.encode(prepared)]

    async def _encode_batches(self) -> None:
        while True:
            # Whoever was cancelled meanwhile needs no encoding.
            batch = [one for one in await self._waiting.take() if not one.result.done()]
            if batch:
                await self._encode_batch(batch)

    async def _encode_batch(self, batch: list[_Waiting]) -> None:
        prepared = [waiting.prepared for waiting in batch]
        try:
            encoded = await self._in(self._encode_pool, lambda: self._encode(prepared))
        except Exception as error:
            for waiting in batch:
                if not waiting.result.done():
                    waiting.result.set_exception(error)
            return
        for waiting, visual_tokens in zip(batch, encoded, strict=True):
            if not waiting.result.done():
                waiting.result.set_result(visual_tokens)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
