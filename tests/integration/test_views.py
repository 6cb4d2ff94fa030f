"""What the tower saw, token by token, beside transformers' own states and attention weights."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from saccade.encoders.base import Prepared, VisionEncoder, VisualTokens
from saccade.encoders.registry import ENCODERS
from saccade.encoders.views import TowerView
from tests.integration.pictures import drawn
from tests.tiny_checkpoint import TinyFamily
from tests.tiny_families import LLAVA, LLAVA_ONEVISION, WITH_CLIPS, WITH_PICTURES

pytestmark = pytest.mark.slow

PICTURES = [drawn(seed, size) for seed, size in enumerate([(320, 240), (60, 500), (200, 231)])]
CLIPS = [[drawn(seed, (120, 90)) for seed in range(num)] for num in (2, 4)]
TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=WITH_PICTURES, ids=lambda family: str(family.name))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Path:
    family: TinyFamily = request.param
    return family.build(tmp_path_factory.mktemp("views") / family.name)


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> VisionEncoder:
    return ENCODERS.load_encoder(checkpoint)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    """Transformers' own, which computes attention weights as such."""
    return AutoModelForImageTextToText.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    ).model.eval()


Encoded = list[tuple[Prepared, VisualTokens, TowerView]]


def encoded(encoder: VisionEncoder, batch: list[Prepared]) -> Encoded:
    pairs = encoder.encode_with_views(batch)
    return [(one, *pair) for one, pair in zip(batch, pairs, strict=True)]


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=TOLERANCE)


def test_each_token_has_a_row_and_is_encoded_as_without_looking(encoder: VisionEncoder) -> None:
    batch = [encoder.preprocess(picture) for picture in PICTURES]
    for prepared, tokens, view in encoded(encoder, batch):
        assert len(view.states) == len(view.attention) == prepared.layout.num_tokens
        close(tokens.embeddings, encoder.encode([prepared])[0].embeddings)


def test_squares_are_seen_as_the_model_sees_them(encoder: VisionEncoder, model: Any) -> None:
    if not hasattr(model, "multi_modal_projector"):
        pytest.skip("a tower of patches")
    newline = getattr(model, "image_newline", None)
    pictures = [*PICTURES, drawn(7, (120, 60))]
    # Of more tiles, LLaVA-OneVision mixes neighbours after the projector.
    batch = [one for one in map(encoder.preprocess, pictures) if one.num_rows <= 10]
    assert batch
    for _, tokens, view in encoded(encoder, batch):
        # The projector works on each token by itself, so its result names the state's place.
        with torch.no_grad():
            expected = model.multi_modal_projector(view.states[None])[0]
        if newline is not None:
            expected = expected.where((view.states != 0).any(1, keepdim=True), newline)
        close(tokens.embeddings, expected)
        assert ((view.attention == 0) == (view.states == 0).all(1)).all()


@pytest.mark.parametrize("tiny", [LLAVA, LLAVA_ONEVISION], ids=lambda one: str(one.name))
def test_attention_of_squares_is_the_models(tiny: TinyFamily, tmp_path: Path) -> None:
    checkpoint = tiny.build(tmp_path / tiny.name)
    encoder = ENCODERS.load_encoder(checkpoint)
    model: Any = AutoModelForImageTextToText.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    ).model.eval()
    layer = model.config.vision_feature_layer
    # CLIP's first token is its summary of the picture.
    first = 1 if model.config.vision_config.model_type == "clip_vision_model" else 0
    batch = [encoder.preprocess(picture) for picture in PICTURES]
    for prepared, _, view in encoded(encoder, batch):
        pixels = prepared.tensors["pixel_values"]
        with torch.inference_mode():
            seen = model.vision_tower(pixels, output_hidden_states=True, output_attentions=True)
        weights = seen.attentions[layer].mean(1)[0]
        expected = weights[0, 1:] if first else weights.mean(0)
        # The picture as a whole comes first, whatever tiles follow.
        close(view.attention[: len(expected)], expected)
        close(view.states[: len(expected)], seen.hidden_states[layer][0, first:])


def tower_alone(
    model: Any, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, torch.Tensor]:
    """The Qwen tower's output, and the column mean of its last layer's weights."""
    module: Any = import_module(type(model.visual).__module__)
    recorded: list[torch.Tensor] = []
    inner = module.eager_attention_forward

    def recording(*args: Any, **kwargs: Any) -> Any:
        output, weights = inner(*args, **kwargs)
        recorded.append(weights)
        return output, weights

    monkeypatch.setattr(module, "eager_attention_forward", recording)
    with torch.inference_mode():
        output = model.visual(prepared.tensors["pixel_values"], prepared.tensors["grid"])
    columns: list[torch.Tensor] = []
    # The last calls are the last layer's: one for each picture, or step in time.
    while sum(map(len, columns)) < len(prepared.tensors["pixel_values"]):
        columns.insert(0, recorded.pop().mean((0, 1, 2)))
    return output, torch.cat(columns)


def test_patches_are_seen_as_the_model_sees_them(
    encoder: VisionEncoder, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(model, "visual"):
        pytest.skip("a tower of squares")
    batch = [encoder.preprocess(picture) for picture in PICTURES]
    for prepared, _, view in encoded(encoder, batch):
        output, weights = tower_alone(model, prepared, monkeypatch)
        states = output.last_hidden_state
        with torch.inference_mode():
            merged = model.visual.merger(states)
        # Which of the tower's tokens has become which: by what the projector made of it.
        order = torch.cdist(output.pooler_output, merged).argmin(1)
        assert sorted(order.tolist()) == list(range(len(merged)))
        close(view.states, states.view(len(merged), 4, -1).mean(1)[order])
        close(view.attention, weights.view(-1, 4).mean(1)[order])


@pytest.mark.parametrize("tiny", WITH_CLIPS, ids=lambda one: str(one.name))
def test_clips_have_a_row_for_each_token(tiny: TinyFamily, tmp_path: Path) -> None:
    encoder = ENCODERS.load_encoder(tiny.build(tmp_path / tiny.name))
    batch = [encoder.preprocess_clip(clip, 2.0) for clip in CLIPS]
    for prepared, tokens, view in encoded(encoder, batch):
        assert len(view.states) == len(view.attention) == prepared.layout.num_tokens
        close(tokens.embeddings, encoder.encode([prepared])[0].embeddings)
        [(alone, seen)] = encoder.encode_with_views([prepared])
        close(seen.states, view.states)
        close(seen.attention, view.attention)
        assert len(alone.embeddings) == len(seen.states)
