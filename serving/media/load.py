"""From the messages of a request to its pictures and clips: found, fetched and checked."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from saccade.serving.config.media import MediaConfig, MediaKind
from saccade.serving.errors import InvalidRequestError
from saccade.serving.media.fetch import ByteBudget, MediaFetcher
from saccade.serving.media.inline import LiftedText, decode_file
from saccade.serving.media.inspect import PictureHeader, content_hash, inspect
from saccade.serving.media.parts import (
    ClipPart,
    EmbedsPart,
    MediaLimits,
    MediaPart,
    PicturePart,
    find_media,
)
from saccade.serving.media.sampling import ClipHeader


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that may go to an encode worker, and the message part that it stands in."""

    kind: ClassVar[MediaKind] = "image"
    part: PicturePart
    data: bytes
    header: PictureHeader
    content_hash: str

    @property
    def param(self) -> str:
        return self.part.param


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that may go to an encode worker: one file, or frames in files of their own."""

    kind: ClassVar[MediaKind] = "video"
    part: ClipPart
    files: tuple[bytes, ...]
    header: ClipHeader
    content_hash: str
    """Of the files and of which frames are taken."""

    @property
    def param(self) -> str:
        return self.part.param


@dataclass(frozen=True, slots=True)
class Embeds:
    """Visual tokens that came with the request; their files are not opened here."""

    kind: ClassVar[MediaKind] = "image"
    part: EmbedsPart
    files: Mapping[str, bytes]
    content_hash: str

    @property
    def param(self) -> str:
        return self.part.param


Encodable = Picture | Clip
Media = Encodable | Embeds


async def load_media(
    messages: object,
    fetcher: MediaFetcher,
    config: MediaConfig,
    *,
    video: bool = False,
    take_of_all: Callable[[int], None] | None = None,
) -> list[Media]:
    """All pictures and clips, in order; the first that is refused ends the fetching of the others.

    `take_of_all` is told of the bytes that come, and may refuse them. Raises ClientError, and
    nothing else but what that raises.
    """
    limits = MediaLimits(
        config.max_images,
        config.max_videos if video else 0,
        config.max_video_frames,
        config.accept_image_embeds,
    )
    parts = find_media(messages, limits)
    budget = ByteBudget(config.max_total_bytes, take_of_all)

    async def load(part: MediaPart) -> Media:
        if isinstance(part, EmbedsPart):
            return await asyncio.to_thread(_embeds, part, config, budget)
        urls = (part.url,) if isinstance(part, PicturePart) else part.urls
        kind: MediaKind = "video" if isinstance(part, ClipPart) and part.is_file else "image"
        files = [
            await fetcher.fetch(url, param=part.param, budget=budget, kind=kind) for url in urls
        ]
        return await asyncio.to_thread(_examine, _without_text(part), files, config)

    return await _all([asyncio.ensure_future(load(part)) for part in parts])


async def _all(tasks: "list[asyncio.Future[Media]]") -> list[Media]:
    """The results in order; the first failure ends the others.

    Not a task group: its exceptions and their frames refer to each other, so that half-read files
    would stay until the garbage collector finds them, long after they were given back.
    """
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        tasks.clear()


def _without_text(part: PicturePart | ClipPart) -> PicturePart | ClipPart:
    """What was taken out of the body is in the files now, and need not be held twice."""
    if isinstance(part, PicturePart):
        return replace(part, url=_name(part.url))
    return replace(part, urls=tuple(_name(url) for url in part.urls))


def _name(url: str) -> str:
    return str(url) if isinstance(url, LiftedText) else url


def _embeds(part: EmbedsPart, config: MediaConfig, budget: ByteBudget) -> Embeds:
    files: dict[str, bytes] = {}
    digest = hashlib.blake2b(b"embeds", digest_size=32)
    for name, encoded in sorted(part.encoded.items()):
        data = decode_file(encoded, config.max_embeds_bytes, part.param, name)
        budget.take(len(data), part.param)
        digest.update(f"{name} {content_hash(data)}".encode())
        files[name] = data
    return Embeds(part, files, digest.hexdigest())


def _examine(
    part: PicturePart | ClipPart, files: Sequence[bytes], config: MediaConfig
) -> Encodable:
    if isinstance(part, PicturePart):
        return Picture(part, files[0], _picture(files[0], part, config), content_hash(files[0]))
    if part.is_file:
        from saccade.serving.media.clip import inspect_clip

        header = inspect_clip(files[0], part.sampling, config, param=part.param)
    else:
        header = _header_of_frames(part, files, config)
    return Clip(part, tuple(files), header, _clip_hash(files, header))


def _picture(data: bytes, part: MediaPart, config: MediaConfig) -> PictureHeader:
    return inspect(data, max_pixels=config.max_pixels, max_side=config.max_side, param=part.param)


def _header_of_frames(part: ClipPart, files: Sequence[bytes], config: MediaConfig) -> ClipHeader:
    """Frames that were taken by the client, all of one size."""
    sizes = [(one.width, one.height) for one in (_picture(data, part, config) for data in files)]
    if len(set(sizes)) != 1:
        raise InvalidRequestError(
            "The frames of a video have to be of one size.", param=part.param, code="invalid_video"
        )
    width, height = sizes[0]
    if width * height > config.max_video_pixels:
        raise InvalidRequestError(
            f"The video cannot be used: {width} x {height} is more than "
            f"{config.max_video_pixels} pixels.",
            param=part.param,
            code="video_too_many_pixels",
        )
    fps = part.sampling.fps or config.video_fps
    return ClipHeader(width, height, len(files) / fps, len(files), is_file=False, recorded_fps=fps)


def _clip_hash(files: Sequence[bytes], header: ClipHeader) -> str:
    taken = f"{header.num_frames} of {header.duration_s!r} s in {len(files)} files"
    digest = hashlib.blake2b(taken.encode(), digest_size=32)
    for data in files:
        digest.update(content_hash(data).encode())
    return digest.hexdigest()
