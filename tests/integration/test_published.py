"""What is written down of published checkpoints, beside the models that transformers builds."""

import copy
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from saccade.encoders.published import Published, published

pytestmark = pytest.mark.slow

VISION = ("visual.", "vision_tower.", "multi_modal_projector.", "image_newline")


@pytest.mark.parametrize("one", published().values(), ids=lambda one: str(one.name))
def test_parameters_are_those_of_the_model(one: Published) -> None:
    config: dict[str, Any] = copy.deepcopy(dict(one.files.config))
    del config["architectures"]
    with torch.device("meta"):  # shapes, and no memory
        model = AutoModelForImageTextToText.from_config(
            AutoConfig.for_model(config.pop("model_type"), **config)
        )
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    vision = sum(size for name, size in sizes.items() if any(part in name for part in VISION))
    assert vision == one.vision_parameters
    assert sum(sizes.values()) - vision == one.language_parameters
