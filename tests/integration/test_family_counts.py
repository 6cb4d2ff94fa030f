"""As many visual tokens as vLLM and transformers count, for pictures and clips of any size."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoProcessor

from saccade.encoders.base import Family, UnsupportedSizeError
from saccade.encoders.published import published
from saccade.encoders.registry import ENCODERS
from tests.tiny_checkpoint import TinyFamily
from tests.tiny_families import (
    LLAVA,
    LLAVA_NEXT,
    LLAVA_ONEVISION,
    QWEN2_5_VL,
    QWEN3_VL,
    WITH_PICTURES,
)

pytestmark = pytest.mark.slow

# Small ones, where rounding shows, and large ones.
sides = st.integers(1, 300) | st.integers(1, 5000)
SIZED = [
    *WITH_PICTURES,
    LLAVA_ONEVISION.sized_as(published()["llava-hf/llava-onevision-qwen2-7b-ov-hf"]),
    QWEN2_5_VL.sized_as(published()["Qwen/Qwen2.5-VL-7B-Instruct"]),
    QWEN3_VL.sized_as(published()["Qwen/Qwen3-VL-8B-Instruct"]),
]
NAMES = [f"{family.name}-{index // len(WITH_PICTURES)}" for index, family in enumerate(SIZED)]


@pytest.fixture(scope="module", params=SIZED, ids=NAMES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family: TinyFamily = request.param
    return family.describe(tmp_path_factory.mktemp("counts") / family.name)


@pytest.fixture(scope="module")
def family(checkpoint: Path) -> Family:
    return ENCODERS.family(checkpoint)


@pytest.fixture(scope="module")
def processor(checkpoint: Path) -> Any:
    return AutoProcessor.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def vllm_info(checkpoint: Path) -> Any:
    from vllm.config import ModelConfig
    from vllm.multimodal import MULTIMODAL_REGISTRY

    return MULTIMODAL_REGISTRY.create_processor(ModelConfig(str(checkpoint))).info


@settings(max_examples=300)
@given(width=sides, height=sides)
def test_pictures_have_as_many_as_transformers_counts(
    family: Family, processor: Any, width: int, height: int
) -> None:
    with contextlib.suppress(UnsupportedSizeError):
        ours = family.picture(width, height).num_tokens
        sizes = [[height, width]]
        assert ours == processor._get_num_multimodal_tokens(sizes).num_image_tokens[0]


@settings(max_examples=300)
@given(width=sides, height=sides)
def test_pictures_have_as_many_as_vllm_counts(
    family: Family, vllm_info: Any, width: int, height: int
) -> None:
    more = (
        {"image_processor": vllm_info.get_image_processor(), "mm_kwargs": {}}
        if family.uses_grid_positions
        else {}
    )
    with contextlib.suppress(UnsupportedSizeError):
        ours = family.picture(width, height).num_tokens
        assert ours == vllm_info.get_num_image_tokens(
            image_width=width, image_height=height, **more
        )


@settings(max_examples=100)
@given(width=sides, height=sides, num_frames=st.integers(1, 40))
def test_clips_have_as_many_as_vllm_counts(
    family: Family, vllm_info: Any, width: int, height: int, num_frames: int
) -> None:
    if not family.support.video:
        pytest.skip("takes no video")
    more = (
        {"image_processor": vllm_info.get_hf_processor().video_processor, "mm_kwargs": {}}
        if family.uses_grid_positions
        else {}
    )
    with contextlib.suppress(UnsupportedSizeError):
        ours = family.clip(width, height, num_frames, 2.0).num_tokens
        shown = max(num_frames, family.min_frames)
        assert ours == vllm_info.get_num_video_tokens(
            image_width=width, image_height=height, num_frames=shown, **more
        )


@pytest.mark.parametrize(
    ("tiny", "size"), [(LLAVA_NEXT, (1, 1000)), (QWEN2_5_VL, (1, 201)), (LLAVA, (1, 5000))]
)
def test_what_the_processor_refuses_is_refused_before(
    tiny: TinyFamily, size: tuple[int, int], tmp_path: Path
) -> None:
    """And the other way round: what is counted can be preprocessed."""
    from PIL import Image

    folder = tiny.describe(tmp_path / tiny.name)
    processor: Any = AutoProcessor.from_pretrained(folder)
    picture = Image.new("RGB", size)
    try:
        ENCODERS.family(folder).picture(*size)
    except UnsupportedSizeError:
        with pytest.raises((ValueError, TypeError, RuntimeError, ZeroDivisionError)):
            processor.image_processor([picture], return_tensors="pt")
    else:
        processor.image_processor([picture], return_tensors="pt")
