"""Each family's encoder beside transformers' own way from a picture to visual tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from saccade.encoders.base import Prepared, VisionEncoder
from saccade.encoders.registry import ENCODERS
from tests.integration.pictures import drawn
from tests.tiny_checkpoint import TinyFamily
from tests.tiny_families import WITH_CLIPS, WITH_PICTURES

pytestmark = pytest.mark.slow

SIZES = [(320, 240), (60, 500), (1000, 31), (112, 112), (33, 40), (640, 480)]
PICTURES = [drawn(seed, size) for seed, size in enumerate(SIZES)]
CLIPS = [
    [drawn(seed, size) for seed in range(num)] for num, size in ((4, (120, 90)), (5, (64, 200)))
]
FRAMES_PER_S = 2.0
TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=WITH_PICTURES, ids=lambda family: str(family.name))
def family(request: pytest.FixtureRequest) -> TinyFamily:
    tiny: TinyFamily = request.param
    return tiny


@pytest.fixture(scope="module")
def checkpoint(family: TinyFamily, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.build(tmp_path_factory.mktemp("family") / family.name)


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> VisionEncoder:
    return ENCODERS.load_encoder(checkpoint)


@pytest.fixture(scope="module")
def prepared(encoder: VisionEncoder) -> list[Prepared]:
    return [encoder.preprocess(picture) for picture in PICTURES]


@pytest.fixture(scope="module")
def processor(checkpoint: Path) -> Any:
    return AutoProcessor.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    loaded: Any = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    return loaded.eval()


def features(compute: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """What transformers makes of one picture or clip, [n, row_size]."""
    with torch.inference_mode():
        output = compute(**inputs)
    levels = [
        output.pooler_output[0],
        *(one[0] for one in getattr(output, "deepstack_features", ())),
    ]
    return torch.cat(levels, dim=1)


def test_pixels_are_the_processors_bit_for_bit(prepared: list[Prepared], processor: Any) -> None:
    for picture, ours in zip(PICTURES, prepared, strict=True):
        theirs = processor.image_processor([picture], return_tensors="pt")["pixel_values"]
        assert torch.equal(
            ours.tensors["pixel_values"], theirs.reshape(ours.tensors["pixel_values"].shape)
        )


def test_visual_tokens_are_the_models(
    encoder: VisionEncoder, prepared: list[Prepared], processor: Any, model: Any
) -> None:
    together = encoder.encode(prepared)
    for picture, ours in zip(PICTURES, together, strict=True):
        inputs = processor.image_processor([picture], return_tensors="pt")
        inputs.pop("batch_num_images", None)
        theirs = features(model.get_image_features, dict(inputs))
        torch.testing.assert_close(ours.embeddings, theirs, atol=TOLERANCE, rtol=TOLERANCE)


def test_pictures_of_mixed_sizes_are_encoded_as_alone(
    encoder: VisionEncoder, prepared: list[Prepared]
) -> None:
    together = encoder.encode(prepared)
    for one, among_others in zip(prepared, together, strict=True):
        [alone] = encoder.encode([one])
        torch.testing.assert_close(
            alone.embeddings, among_others.embeddings, atol=TOLERANCE, rtol=TOLERANCE
        )
        assert alone.extent == among_others.extent


def test_there_are_as_many_visual_tokens_as_the_processor_puts_into_the_prompt(
    encoder: VisionEncoder, processor: Any, family: TinyFamily
) -> None:
    placeholder = family.image.replace(" ", "")
    token_id = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    for picture in PICTURES:
        ids = processor(text=placeholder, images=[picture])["input_ids"][0]
        assert encoder.family.picture(*picture.size).num_tokens == list(ids).count(token_id)


def test_each_picture_owns_its_memory(encoder: VisionEncoder, prepared: list[Prepared]) -> None:
    for one in encoder.encode(prepared):
        assert one.embeddings.untyped_storage().nbytes() == one.embeddings.nbytes


@pytest.mark.parametrize("mode", ["RGBA", "L"])
def test_pictures_that_are_not_rgb_are_refused(encoder: VisionEncoder, mode: str) -> None:
    from saccade.encoders.base import UnsupportedPictureError

    with pytest.raises(UnsupportedPictureError, match=f"a picture is {mode}"):
        encoder.preprocess(Image.new(mode, (8, 8)))


class TestClips:
    """Families that take video: frames of two clips of different lengths, in one batch."""

    @pytest.fixture(scope="class", params=WITH_CLIPS, ids=lambda one: str(one.name))
    def family(self, request: pytest.FixtureRequest) -> TinyFamily:
        tiny: TinyFamily = request.param
        return tiny

    @pytest.fixture(scope="class")
    def checkpoint(self, family: TinyFamily, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return family.build(tmp_path_factory.mktemp("video") / family.name)

    @pytest.fixture(scope="class")
    def encoder(self, checkpoint: Path) -> VisionEncoder:
        return ENCODERS.load_encoder(checkpoint)

    @pytest.fixture(scope="class")
    def processor(self, checkpoint: Path) -> Any:
        return AutoProcessor.from_pretrained(checkpoint)

    @pytest.fixture(scope="class")
    def model(self, checkpoint: Path) -> Any:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
        return loaded.eval()

    def test_visual_tokens_are_the_models(
        self, encoder: VisionEncoder, processor: Any, model: Any
    ) -> None:
        prepared = [encoder.preprocess_clip(clip, FRAMES_PER_S) for clip in CLIPS]
        picture = encoder.preprocess(PICTURES[0])
        *together, _ = encoder.encode([*prepared, picture])
        for clip, before, ours in zip(CLIPS, prepared, together, strict=True):
            frames = np.stack([np.asarray(frame) for frame in clip])
            inputs = dict(
                processor.video_processor([frames], return_tensors="pt", do_sample_frames=False)
            )
            assert torch.equal(
                before.tensors["pixel_values"],
                inputs["pixel_values_videos"].reshape(before.tensors["pixel_values"].shape),
            )
            theirs = features(model.get_video_features, inputs)
            torch.testing.assert_close(ours.embeddings, theirs, atol=TOLERANCE, rtol=TOLERANCE)

    @pytest.mark.parametrize(("size", "num_frames"), [((64, 3), 2), ((1, 40), 1), ((3, 3), 3)])
    def test_small_frames_are_not_taken_for_channels(
        self, size: tuple[int, int], num_frames: int, encoder: VisionEncoder
    ) -> None:
        clip = [drawn(seed, size) for seed in range(num_frames)]
        [tokens] = encoder.encode([encoder.preprocess_clip(clip, FRAMES_PER_S)])
        layout = encoder.family.clip(*size, num_frames, FRAMES_PER_S)
        assert len(tokens.embeddings) == layout.num_tokens

    def test_the_count_is_known_from_size_and_frames(self, encoder: VisionEncoder) -> None:
        for clip in CLIPS:
            [tokens] = encoder.encode([encoder.preprocess_clip(clip, FRAMES_PER_S)])
            layout = encoder.family.clip(*clip[0].size, len(clip), FRAMES_PER_S)
            assert len(tokens.embeddings) == layout.num_tokens
