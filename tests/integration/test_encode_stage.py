"""Stages preprocess and encode of an instance, with pictures and clips of mixed sizes at once."""

import asyncio
import pickle
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from PIL import Image

from saccade.encoders.features import FeatureEncoder
from saccade.encoders.registry import ENCODERS
from saccade.serving.config.media import MediaConfig
from saccade.serving.errors import InvalidRequestError
from saccade.serving.instance.encoding import EncodeStage
from saccade.serving.media.clip import inspect_clip
from saccade.serving.media.sampling import ClipHeader, Sampling
from tests.integration.pictures import drawn
from tests.tiny_families import QWEN2_5_VL
from tests.unit.media.clips import clip_file

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SIZES = [(120, 90), (60, 200), (300, 56)]


def png(image: Image.Image) -> bytes:
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EncodeStage]:
    encoder = ENCODERS.load_encoder(QWEN2_5_VL.build(tmp_path_factory.mktemp("stage") / "qwen"))
    features = FeatureEncoder(encoder, watched=True)
    stage = EncodeStage(features, threads=1, max_patches=4096, max_pixels=10**6)
    yield stage
    stage.close()


async def test_what_comes_at_once_is_encoded_as_alone(stage: EncodeStage) -> None:
    pictures = [png(drawn(seed, size)) for seed, size in enumerate(SIZES)]
    alone = [await stage.encode(data) for data in pictures]
    together = await asyncio.gather(*(stage.encode(data) for data in pictures))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(
            one.features.tokens.embeddings, other.features.tokens.embeddings, atol=1e-4, rtol=1e-4
        )


async def test_a_video_file_and_a_picture_share_a_batch(stage: EncodeStage) -> None:
    data = clip_file(size=(112, 84))
    header = inspect_clip(data, Sampling(fps=2.0), MediaConfig(), param=None)
    clip, _ = await asyncio.gather(
        stage.encode_clip([data], header), stage.encode(png(drawn(1, SIZES[0])))
    )
    # Two steps in time for four frames, of 3 x 4 cells of 28 pixels.
    assert len(clip.features.tokens.embeddings) == 2 * 3 * 4


async def test_frames_as_pictures_make_the_clip_that_they_are(stage: EncodeStage) -> None:
    frames = [png(drawn(seed, (112, 84))) for seed in range(3)]
    header = ClipHeader(112, 84, duration_s=1.5, num_frames=3, is_file=False)
    clip = await stage.encode_clip(frames, header)
    positions = clip.features.tokens.positions
    assert positions is not None
    # Two seconds of distance between two pairs of frames, at two positions a second.
    assert sorted(set(positions[:, 0].tolist())) == [0, 2]


async def test_what_cannot_be_decoded_is_the_clients_error(stage: EncodeStage) -> None:
    header = ClipHeader(112, 84, duration_s=1.0, num_frames=2)
    with pytest.raises(InvalidRequestError):
        await stage.encode_clip([b"\0\0\0\x20ftypisom" + b"\0" * 64], header)


async def test_visual_tokens_survive_the_way_to_another_process(stage: EncodeStage) -> None:
    tokens = (await stage.encode(png(drawn(1, SIZES[0])))).features.tokens
    same = pickle.loads(pickle.dumps(tokens))
    assert torch.equal(same.embeddings, tokens.embeddings)
    assert same.positions is not None
    assert tokens.positions is not None
    assert torch.equal(same.positions, tokens.positions)
    assert same.extent == tokens.extent


async def test_a_checkpoint_of_shards_is_read_without_its_language_model(tmp_path: Path) -> None:
    """The shard of the language model is damaged, and nobody notices."""
    import json

    from safetensors.torch import load_file, save_file

    folder = QWEN2_5_VL.build(tmp_path / "sharded")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    tower = {name: one for name, one in tensors.items() if name.startswith("visual.")}
    save_file(tower, folder / "1.safetensors")
    (folder / "2.safetensors").write_bytes(b"damaged")
    weight_map = {name: f"{1 if name in tower else 2}.safetensors" for name in tensors}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))

    assert ENCODERS.load_encoder(folder).family.name == "Qwen2.5-VL"
