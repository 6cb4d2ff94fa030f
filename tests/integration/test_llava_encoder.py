"""Our encoder beside transformers' own way from a picture to visual tokens."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, LlavaForConditionalGeneration

from saccade.encoders.base import (
    BrokenOutputError,
    UnsupportedCheckpointError,
    UnsupportedPictureError,
    VisionEncoder,
)
from saccade.encoders.registry import ENCODERS
from tests.integration.pictures import drawn

pytestmark = pytest.mark.slow

SIZES = [(320, 240), (320, 240), (60, 500), (1000, 31), (192, 192), (3, 40), (1, 1)]
PICTURES = [drawn(seed, size) for seed, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> VisionEncoder:
    return ENCODERS.load_encoder(checkpoint)


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and visual tokens of `PICTURES`, by transformers."""
    processor: Any = AutoProcessor.from_pretrained(checkpoint)
    model: Any = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    text = "<image>" * len(PICTURES)
    pixels = processor(text=text, images=PICTURES, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        output = model.get_image_features(
            pixels,
            vision_feature_layer=model.config.vision_feature_layer,
            vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        )
    return pixels, torch.stack(output.pooler_output)


def assert_same_but_for_rounding(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def encode(encoder: VisionEncoder, *pictures: Image.Image) -> list[torch.Tensor]:
    """The visual tokens of each, encoded in one batch."""
    batch = [encoder.preprocess(picture) for picture in pictures]
    return [tokens.embeddings for tokens in encoder.encode(batch)]


def changed(checkpoint: Path, directory: Path, **settings: Any) -> Path:
    """A copy whose config.json says something else."""
    shutil.copytree(checkpoint, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, **settings}))
    return directory


def test_pixels_are_the_processors_bit_for_bit(
    encoder: VisionEncoder, reference: tuple[torch.Tensor, torch.Tensor]
) -> None:
    ours = [encoder.preprocess(picture).tensors["pixel_values"] for picture in PICTURES]

    assert torch.equal(torch.cat(ours), reference[0])


def test_visual_tokens_are_the_models(
    encoder: VisionEncoder, reference: tuple[torch.Tensor, torch.Tensor]
) -> None:
    tokens = encode(encoder, *PICTURES)

    assert_same_but_for_rounding(torch.stack(tokens), reference[1])


def test_a_picture_is_encoded_alone_as_among_others(encoder: VisionEncoder) -> None:
    together = encode(encoder, *PICTURES)

    for picture, among_others in zip(PICTURES, together, strict=True):
        assert_same_but_for_rounding(encode(encoder, picture)[0], among_others)


def test_there_are_as_many_visual_tokens_as_were_counted(
    checkpoint: Path, encoder: VisionEncoder
) -> None:
    family = ENCODERS.family(checkpoint)

    for picture in PICTURES:
        [tokens] = encode(encoder, picture)
        assert tokens.shape == (family.picture(*picture.size).num_tokens, family.row_size)


def test_the_whole_picture_is_seen(encoder: VisionEncoder) -> None:
    """A centre crop would lose what stands at the edges."""
    plain = Image.new("RGB", (400, 100), "white")
    marked = plain.copy()
    marked.paste("black", (0, 0, 8, 100))

    before, after = (encoder.preprocess(one).tensors["pixel_values"] for one in (plain, marked))
    assert not torch.equal(before, after)


def test_each_picture_owns_its_memory(encoder: VisionEncoder) -> None:
    for picture in encode(encoder, *PICTURES):
        assert picture.untyped_storage().nbytes() == picture.nbytes


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_pictures_that_are_not_rgb_are_refused(encoder: VisionEncoder, mode: str) -> None:
    with pytest.raises(UnsupportedPictureError, match=f"a picture is {mode}"):
        encoder.preprocess(Image.new(mode, (8, 8)))


def test_tokens_that_are_not_finite_go_no_further(encoder: VisionEncoder) -> None:
    fine, broken = encoder.preprocess(drawn(1)), encoder.preprocess(drawn(2))
    broken.tensors["pixel_values"][0, 0, 0, 0] = torch.nan

    with pytest.raises(BrokenOutputError):
        encoder.encode([fine, broken])


def test_names_as_newer_transformers_save_them_are_read(
    checkpoint: Path, encoder: VisionEncoder, tmp_path: Path
) -> None:
    model: Any = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    names = {
        name.replace("vision_tower.vision_model.", "vision_tower."): tensor
        for name, tensor in model.state_dict().items()
    }
    assert "model.vision_tower.embeddings.class_embedding" in names
    other = changed(checkpoint, tmp_path / "other")
    save_file(names, other / "model.safetensors")

    [tokens] = encode(ENCODERS.load_encoder(other), drawn(1))

    assert torch.equal(tokens, encode(encoder, drawn(1))[0])


@pytest.mark.parametrize("layer", [-1, 4])
def test_another_layer_may_feed_the_projector(checkpoint: Path, tmp_path: Path, layer: int) -> None:
    other = changed(checkpoint, tmp_path / "other", vision_feature_layer=layer)
    model: Any = LlavaForConditionalGeneration.from_pretrained(other, dtype=torch.float32)
    encoder = ENCODERS.load_encoder(other)
    pixels = encoder.preprocess(drawn(1)).tensors["pixel_values"]

    with torch.inference_mode():
        expected = model.get_image_features(
            pixels, vision_feature_layer=layer, vision_feature_select_strategy="default"
        ).pooler_output[0]

    assert_same_but_for_rounding(encode(encoder, drawn(1))[0], expected)


def test_several_layers_at_once_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    other = changed(checkpoint, tmp_path / "other", vision_feature_layer=[-2, -3])

    with pytest.raises(UnsupportedCheckpointError, match="one layer"):
        ENCODERS.load_encoder(other)


def test_a_missing_tensor_is_named(checkpoint: Path, tmp_path: Path) -> None:
    other = changed(checkpoint, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    del tensors["vision_tower.vision_model.encoder.layers.2.mlp.fc1.bias"]
    save_file(tensors, other / "model.safetensors")

    with pytest.raises(UnsupportedCheckpointError, match=r"encoder\.layers\.2\.mlp\.fc1\.bias"):
        ENCODERS.load_encoder(other)
