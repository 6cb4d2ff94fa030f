"""From the messages of a request to its pictures: found, fetched and checked."""

import asyncio
from dataclasses import dataclass

from saccade.serving.config.media import MediaConfig
from saccade.serving.media.fetch import ByteBudget, MediaFetcher
from saccade.serving.media.inspect import PictureHeader, content_hash, inspect
from saccade.serving.media.parts import PicturePart, find_pictures


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that may go to an encode worker, and the message part that it stands in."""

    part: PicturePart
    data: bytes
    header: PictureHeader
    content_hash: str

    @property
    def param(self) -> str:
        return self.part.param


async def load_pictures(
    messages: object, fetcher: MediaFetcher, config: MediaConfig
) -> list[Picture]:
    """All pictures, in order; the first that is refused ends the fetching of the others.

    Raises ClientError, and nothing else.
    """
    parts = find_pictures(messages, config.max_images)
    budget = ByteBudget(config.max_total_bytes)

    async def load(part: PicturePart) -> Picture:
        data = await fetcher.fetch(part.url, param=part.param, budget=budget)
        return await asyncio.to_thread(_examine, part, data, config)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(load(part)) for part in parts]
    except* Exception as failures:
        first = failures.exceptions[0]
    else:
        return [task.result() for task in tasks]
    raise first


def _examine(part: PicturePart, data: bytes, config: MediaConfig) -> Picture:
    header = inspect(data, max_pixels=config.max_pixels, max_side=config.max_side, param=part.param)
    return Picture(part, data, header, content_hash(data))
