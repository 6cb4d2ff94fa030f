"""The model as torch modules, and its weights under their names on the hub.

The parts are those of transformers, put together here: training wants hidden states of the tower
and attention masks of its own.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from saccade.training.architecture import CLIP_MEAN, CLIP_STD, Architecture
from saccade.training.recipe.settings import RecipeError
from saccade.training.weights import (
    Shapes,
    model_shapes,
    text_tower_shapes,
    visual_projection_shapes,
)

TEXT_TOWER = "text_tower"


class Projector(nn.Module):
    """LLaVA-1.5's two layers: [..., vision width] -> [..., language width]."""

    def __init__(self, vision_width: int, language_width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(vision_width, language_width)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(language_width, language_width)

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.linear_2(self.act(self.linear_1(features)))
        return projected


class TinyModel(nn.Module):
    """Both towers, the projector and the language model."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        config = architecture.config()
        self.vision = CLIPVisionModel(CLIPVisionConfig(**config["vision_config"]))
        self.text = CLIPTextModelWithProjection(CLIPTextConfig(**architecture.text_tower_config()))
        width = architecture.vision.hidden_size
        self.visual_projection = nn.Linear(
            width, architecture.text_tower.projection_dim, bias=False
        )
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))
        self.projector = Projector(width, architecture.language.hidden_size)
        self.language = LlamaForCausalLM(LlamaConfig(**config["text_config"]))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(1, 3, 1, 1) * 255, False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(1, 3, 1, 1) * 255, False)
        # The files are in bfloat16, and transformers makes what they configure in that.
        self.float()

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def pixels(self, pictures: Tensor) -> Tensor:
        """As the tower takes them: normalised."""
        return (pictures.float() - self.mean) / self.std

    def layers(self, pictures: Tensor, count: int | None = None) -> list[Tensor]:
        """Pictures [B, 3, S, S] of uint8 -> what goes into the first layer of the tower, and the
        output of each of the first `count` layers (or of all); each [B, 1 + patches, width], the
        summary token first."""
        vision = inner(self.vision)
        hidden = [vision.pre_layrnorm(vision.embeddings(self.pixels(pictures)))]
        for layer in vision.encoder.layers[:count]:
            hidden.append(layer(hidden[-1], attention_mask=None))
        return hidden

    def features(self, pictures: Tensor) -> Tensor:
        """What the projector takes: [B, patches, vision width]."""
        vision = self.architecture.vision
        count = vision.num_layers + 1 + vision.feature_layer
        return self.layers(pictures, count)[-1][:, 1:]

    def joint_picture(self, last_layer: Tensor) -> Tensor:
        """Tokens of the last layer in the space that pictures and captions share."""
        norm = inner(self.vision).post_layernorm
        projected: Tensor = self.visual_projection(norm(last_layer))
        return projected

    def joint_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        embedded: Tensor = self.text(input_ids=ids, attention_mask=mask).text_embeds
        return embedded


def load_weights(model: TinyModel, directory: Path) -> None:
    """Raises `RecipeError` unless every tensor of the architecture is there, in its shape."""
    for file, tensors in _files(model).items():
        try:
            found = load_file(directory / file)
        except OSError as error:
            raise RecipeError(f"cannot read {directory / file}: {error}") from error
        for name, parameter in tensors.items():
            if name not in found or found[name].shape != parameter.shape:
                raise RecipeError(f"{directory / file} lacks {name} {tuple(parameter.shape)}")
            parameter.data.copy_(found[name])


def save_weights(model: TinyModel, directory: Path, dtype: torch.dtype) -> None:
    for file, tensors in _files(model).items():
        path = directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {n: t.detach().to("cpu", dtype).contiguous() for n, t in tensors.items()}
        save_file(values, path, metadata={"format": "pt"})


def _files(model: TinyModel) -> dict[str, dict[str, Tensor]]:
    """Every parameter by file and name on the hub."""
    architecture = model.architecture
    own: dict[str, Tensor] = {}
    vision = inner(model.vision)
    own |= {f"vision_tower.vision_model.{n}": p for n, p in vision.named_parameters()}
    own |= {f"multi_modal_projector.{n}": p for n, p in model.projector.named_parameters()}
    own |= {f"language_model.{n}": p for n, p in model.language.named_parameters()}
    text: dict[str, Tensor] = dict(model.text.named_parameters())
    projection = {
        "visual_projection.weight": model.visual_projection.weight,
        "logit_scale": model.logit_scale,
    }
    files: dict[str, tuple[dict[str, Tensor], Shapes]] = {
        "model.safetensors": (own, model_shapes(architecture)),
        f"{TEXT_TOWER}/model.safetensors": (text, text_tower_shapes(architecture)),
        f"{TEXT_TOWER}/visual_projection.safetensors": (
            projection,
            visual_projection_shapes(architecture),
        ),
    }
    for file, (tensors, shapes) in files.items():
        given = {n: tuple(t.shape) for n, t in tensors.items()}
        assert given == shapes, (file, set(given.items()) ^ set(shapes.items()))
    return {file: tensors for file, (tensors, _) in files.items()}


def inner(vision: Any) -> Any:
    """transformers 5 has no `vision_model` between a CLIP tower and its parts; 4 had."""
    return getattr(vision, "vision_model", vision)
