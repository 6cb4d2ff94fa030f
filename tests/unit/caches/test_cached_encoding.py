"""An encode stage with its cache, around an encoder that counts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from PIL import Image

from saccade.encoders.base import Family, Prepared, VisionEncoder, VisualLayout, VisualTokens
from saccade.encoders.features import FeatureEncoder
from saccade.serving.caches.disk import BLOCK_BYTES
from saccade.serving.caches.keys import PictureId, bytes_key
from saccade.serving.caches.visual import VisualTokenCache
from saccade.serving.config.visual_cache import VisualCacheConfig
from saccade.serving.errors import InvalidRequestError
from saccade.serving.instance.cached import CachedEncodeStage, Delivered
from saccade.serving.instance.encoding import EncodeStage
from saccade.serving.media.inspect import content_hash
from tests.unit.caches.some_features import equal

SIDE = 4


class CountingEncoder(VisionEncoder):
    """Makes one visual token of each row of a picture of 4 x 4 pixels."""

    def __init__(self) -> None:
        self.num_preprocessed = 0
        self.num_encoded = 0
        self.error: Exception | None = None

    @property
    def family(self) -> Family:
        raise NotImplementedError("nobody watches it")

    def preprocess(self, image: Image.Image) -> Prepared:
        self.num_preprocessed += 1
        pixels = np.asarray(image.resize((SIDE, SIDE)), dtype=np.float32)
        tensor = torch.from_numpy(pixels.reshape(1, SIDE, SIDE * 3).copy())
        return Prepared("image", {"pixel_values": tensor}, VisualLayout(SIDE))

    def preprocess_clip(self, frames: Sequence[Image.Image], frames_per_s: float) -> Prepared:
        raise NotImplementedError

    def encode(self, batch: Sequence[Prepared]) -> list[VisualTokens]:
        self.num_encoded += len(batch)
        if self.error is not None:
            raise self.error
        return [
            VisualTokens(prepared.tensors["pixel_values"][0] + 1, None, SIDE) for prepared in batch
        ]

    def encode_with_views(self, batch: Sequence[Prepared]) -> Any:
        raise NotImplementedError


class System:
    """One instance's encoder, stage and cache."""

    def __init__(self, encoder: CountingEncoder, revision: str = "1", **config: Any) -> None:
        self.encoder = encoder
        self.cache = VisualTokenCache(VisualCacheConfig(**config), "encode-0")
        features = FeatureEncoder(encoder, watched=False)
        stage = EncodeStage(features, threads=2, max_patches=1024, max_pixels=10**6)
        self.stage = CachedEncodeStage(stage, self.cache, revision)

    async def ask(self, data: bytes, owner: str = "0" * 32) -> Delivered:
        return await self.stage.encode(data, PictureId(owner, content_hash(data)))

    @property
    def counts(self) -> tuple[int, int]:
        return self.encoder.num_preprocessed, self.encoder.num_encoded


Make = Callable[..., System]


@pytest_asyncio.fixture
async def make() -> AsyncIterator[Make]:
    systems: list[System] = []

    def make(encoder: CountingEncoder | None = None, **config: Any) -> System:
        systems.append(System(encoder or CountingEncoder(), **config))
        return systems[-1]

    yield make
    for system in systems:
        system.stage.close()


def png(colour: str = "red", comment: str = "") -> bytes:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("comment", comment)
    data = BytesIO()
    Image.new("RGB", (8, 8), colour).save(data, "PNG", pnginfo=info)
    return data.getvalue()


def files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.safetensors"))


async def test_a_picture_that_was_seen_is_neither_decoded_nor_encoded(make: Make) -> None:
    system = make()
    first, second = await system.ask(png()), await system.ask(png())
    assert (first.source, second.source) == ("encoded", "memory")
    assert system.counts == (1, 1)
    assert equal(first.features, second.features)
    assert first.saved_ms == 0 < second.saved_ms == second.cost_ms == first.cost_ms


async def test_a_thousand_at_once_encode_once(make: Make) -> None:
    system = make()
    delivered = await asyncio.gather(*(system.ask(png()) for _ in range(1000)))
    assert system.counts == (1, 1)
    assert sorted({one.source for one in delivered}) == ["encoded", "joined"]
    assert sum(one.source == "joined" for one in delivered) == 999


async def test_another_file_of_the_same_pixels_is_decoded_once_and_never_encoded(
    make: Make,
) -> None:
    system = make()
    first, other = png(comment="a"), png(comment="b")
    assert first != other
    assert [(await system.ask(data)).source for data in (first, other, other)] == [
        "encoded", "memory", "memory",
    ]  # fmt: skip
    assert system.counts == (2, 1)


async def test_two_files_of_the_same_pixels_at_once_encode_once(make: Make) -> None:
    system = make()
    await asyncio.gather(*(system.ask(png(comment=str(number))) for number in range(20)))
    assert system.counts == (20, 1)


async def test_other_pixels_are_another_picture(make: Make) -> None:
    system = make()
    red, blue = await system.ask(png("red")), await system.ask(png("blue"))
    assert not equal(red.features, blue.features)
    assert system.counts == (2, 2)


async def test_tenants_share_nothing_not_even_work_under_way(make: Make) -> None:
    system = make()
    await asyncio.gather(*(system.ask(png(), owner) for owner in ("a" * 32, "b" * 32)))
    assert system.counts == (2, 2)
    assert system.cache.stats()["memory"].num_entries == 2


async def test_an_encoder_of_another_revision_takes_nothing_over(
    make: Make, tmp_path: Path
) -> None:
    for revision in ("1", "2"):
        system = make(revision=revision, disk_bytes=10**6, disk_folder=tmp_path)
        assert (await system.ask(png())).source == "encoded"
        await system.cache.settle()
        system.stage.close()


async def test_the_disk_survives_a_restart_and_spares_the_decoding_too(
    make: Make, tmp_path: Path
) -> None:
    first = make(disk_bytes=10**6, disk_folder=tmp_path)
    before = await first.ask(png())
    await first.cache.settle()
    first.stage.close()
    second = make(disk_bytes=10**6, disk_folder=tmp_path)
    assert second.stage.known() == {
        bytes_key(PictureId("0" * 32, content_hash(png())), second.stage.revision)
    }
    after = await second.ask(png())
    assert after.source == "disk"
    assert second.counts == (0, 0)
    assert equal(before.features, after.features)
    assert after.cost_ms == pytest.approx(before.cost_ms, abs=1e-3)
    assert (await second.ask(png())).source == "memory"


async def test_a_broken_file_is_computed_again_and_kept_again(make: Make, tmp_path: Path) -> None:
    system = make(memory_bytes=0, disk_bytes=10**6, disk_folder=tmp_path)
    before = await system.ask(png())
    await system.cache.settle()
    [path] = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    after = await system.ask(png())
    assert after.source == "encoded"
    assert equal(before.features, after.features)
    assert system.cache.stats()["disk"].num_corrupted == 1
    await system.cache.settle()
    assert (await system.ask(png())).source == "disk"


async def test_what_had_to_go_is_encoded_again(make: Make) -> None:
    # Room for one picture: 4 tokens of 12 numbers of 4 bytes.
    system = make(memory_bytes=200)
    for colour in ("red", "blue", "red"):
        assert (await system.ask(png(colour))).source == "encoded"
    assert system.cache.stats()["memory"].num_evictions == 2
    assert len(system.cache._aliases) == 1


async def test_memory_takes_what_the_disk_has_and_the_disk_has_room_for_more(
    make: Make, tmp_path: Path
) -> None:
    system = make(memory_bytes=200, disk_bytes=3 * BLOCK_BYTES, disk_folder=tmp_path)
    sources = []
    for colour in ("red", "blue", "red", "red", "blue"):
        sources.append((await system.ask(png(colour))).source)
        await system.cache.settle()
    assert sources == ["encoded", "encoded", "disk", "memory", "disk"]


async def test_clearing_one_owner_leaves_the_other(make: Make, tmp_path: Path) -> None:
    system = make(disk_bytes=10**6, disk_folder=tmp_path)
    for owner in ("a" * 32, "b" * 32):
        await system.ask(png(), owner)
    await system.cache.settle()
    assert await system.cache.clear("a" * 32) == 1
    assert (await system.ask(png(), "b" * 32)).source == "memory"
    assert (await system.ask(png(), "a" * 32)).source == "encoded"
    await system.cache.settle()
    assert await system.cache.clear() == 2
    assert files(tmp_path) == []


async def test_errors_are_not_kept(make: Make) -> None:
    system = make()
    with pytest.raises(InvalidRequestError):
        await system.ask(b"no picture")
    system.encoder.error = RuntimeError("the tower fell")
    with pytest.raises(RuntimeError, match="tower"):
        await system.ask(png())
    system.encoder.error = None
    assert (await system.ask(png())).source == "encoded"


async def test_a_picture_without_an_id_is_encoded_each_time_and_not_kept(make: Make) -> None:
    system = make()
    for _ in range(2):
        assert (await system.stage.encode(png(), None)).source == "encoded"
    assert system.cache.stats()["memory"].num_entries == 0
