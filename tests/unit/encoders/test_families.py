"""What is known of published checkpoints from their configuration alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.encoders.base import Block, Family, UnsupportedCheckpointError, UnsupportedSizeError
from saccade.encoders.checkpoint import CheckpointFiles
from saccade.encoders.published import published
from saccade.encoders.registry import ENCODERS

LLAVA = "llava-hf/llava-1.5-7b-hf"
ONEVISION = "llava-hf/llava-onevision-qwen2-7b-ov-hf"
QWEN2_5 = "Qwen/Qwen2.5-VL-7B-Instruct"
QWEN3 = "Qwen/Qwen3-VL-8B-Instruct"

sides = st.integers(min_value=1, max_value=5000)


def family_of(name: str) -> Family:
    return ENCODERS.family_of(published()[name].files, name)


@pytest.mark.parametrize(
    ("name", "size", "num_tokens"),
    [
        (LLAVA, (336, 336), 576),
        (LLAVA, (1920, 1080), 576),
        (QWEN2_5, (448, 448), 256),
        (QWEN2_5, (640, 640), 529),
        (QWEN2_5, (896, 896), 1024),
        (QWEN2_5, (1920, 1080), 2691),
        (QWEN2_5, (3840, 2160), 10549),
        (QWEN3, (640, 640), 400),
        (QWEN3, (1920, 1080), 2040),
        # The whole picture once, and one tile, each row of which ends in a newline.
        (ONEVISION, (384, 384), 729 + 27 * 28),
    ],
)
def test_pictures_have_as_many_tokens_as_is_published(
    name: str, size: tuple[int, int], num_tokens: int
) -> None:
    assert family_of(name).picture(*size).num_tokens == num_tokens


def test_a_frame_of_onevision_has_196_tokens_and_a_tile_729() -> None:
    family = family_of(ONEVISION)

    # One newline ends the clip.
    assert family.clip(640, 480, 16, 2.0).num_tokens == 16 * 196 + 1
    # Three by three tiles, the picture once more, and a newline for each of 81 rows.
    assert family.picture(1152, 1152).num_tokens == 10 * 729 + 81


@pytest.mark.parametrize("name", [LLAVA, ONEVISION, QWEN2_5, QWEN3])
@given(width=sides, height=sides)
def test_blocks_hold_all_tokens_of_a_picture(name: str, width: int, height: int) -> None:
    family = family_of(name)
    try:
        layout = family.picture(width, height)
    except UnsupportedSizeError:
        return
    assert sum(block.num_tokens for block in layout.blocks) == layout.num_tokens
    first = layout.blocks[0]
    # The first shows all of the picture.
    assert min(first.rows, first.columns) >= 1
    assert not first.newlines


def test_blocks_of_a_clip_are_its_frames_or_steps() -> None:
    assert family_of(ONEVISION).clip(640, 480, 5, 2.0).blocks == (Block(14, 14),) * 5
    assert family_of(QWEN2_5).clip(448, 448, 7, 2.0).blocks == (Block(16, 16),) * 4


def test_a_clip_of_qwen_has_a_step_in_time_for_two_frames() -> None:
    layout = family_of(QWEN2_5).clip(448, 448, 7, 2.0)

    assert layout.grid == (4, 16, 16)
    # Two frames last a second, which are two positions.
    assert layout.time_scale == 2.0


def test_steps_of_qwen3_stand_apart_behind_the_middle_of_their_two_frames() -> None:
    family = family_of(QWEN3)
    layout = family.clip(640, 480, 5, 2.0)

    assert layout.grid == (3, 15, 20)
    assert layout.apart
    # As for frames at 0, 0.5, 1, 1.5 and 2 s; the last is shown twice.
    assert family.stamps_s([0.0, 0.5, 1.0, 1.5, 2.0]) == (0.25, 1.25, 2.0)
    # One frame is a step, too.
    assert family.clip(640, 480, 1, 2.0).grid == (1, 15, 20)
    assert family.stamps_s([0.25]) == (0.25,)
    assert family_of(QWEN2_5).stamps_s([0.0, 0.5]) == ()


@pytest.mark.parametrize("num_frames", [16, 256])
def test_all_frames_of_qwen3_together_keep_to_the_limit(num_frames: int) -> None:
    grid = family_of(QWEN3).clip(1920, 1080, num_frames, 2.0).grid
    assert grid is not None
    # 25,165,824 pixels in all, of which a token has 2 x 32 x 32.
    assert grid[0] * grid[1] * grid[2] <= 12288


def test_video_that_vllm_would_count_otherwise_is_refused() -> None:
    files = published()[QWEN3].files
    capped = {**files.video_processor, "cap_pixels_per_frame": True}
    changed = CheckpointFiles(files.config, files.image_processor, capped)
    with pytest.raises(UnsupportedCheckpointError, match="cap_pixels_per_frame has to be false"):
        ENCODERS.family_of(changed, QWEN3)


@pytest.mark.parametrize(
    ("name", "kv_bytes_per_token"),
    [(QWEN2_5, 57_344), (QWEN3, 147_456), (LLAVA, 524_288), (ONEVISION, 57_344)],
)
def test_kv_bytes_per_token(name: str, kv_bytes_per_token: int) -> None:
    assert family_of(name).language.kv_bytes_per_token() == kv_bytes_per_token


@pytest.mark.parametrize(
    ("name", "vision_gb", "total_gb"),
    [(LLAVA, 0.65, 14.13), (ONEVISION, 0.83, 16.06), (QWEN2_5, 1.35, 16.58), (QWEN3, 1.15, 17.53)],
)
def test_weights_in_16_bits(name: str, vision_gb: float, total_gb: float) -> None:
    one = published()[name]
    total = one.vision_parameters + one.language_parameters

    assert one.vision_parameters * 2 / 1e9 == pytest.approx(vision_gb, abs=0.01)
    assert total * 2 / 1e9 == pytest.approx(total_gb, abs=0.01)


@pytest.mark.parametrize("name", [QWEN2_5, QWEN3])
@given(width=sides, height=sides)
def test_a_grid_keeps_to_the_limits_and_to_the_proportions(
    name: str, width: int, height: int
) -> None:
    family = family_of(name)
    if max(width, height) > 200 * min(width, height):
        with pytest.raises(UnsupportedSizeError):
            family.picture(width, height)
        return
    layout = family.picture(width, height)

    assert layout.grid is not None
    one, rows, columns = layout.grid
    assert (one, rows * columns) == (1, layout.num_tokens)
    assert layout.num_tokens <= 16384
    assert (rows >= columns) if height >= width else (columns >= rows)


@given(width=sides, height=sides)
def test_onevision_never_has_more_than_ten_tiles_and_their_newlines(
    width: int, height: int
) -> None:
    family = family_of(ONEVISION)

    num_tokens = family.picture(width, height).num_tokens
    # Scaled down to 1.1 times nine tiles in each direction at most.
    assert 729 < num_tokens <= 729 + 1.21 * 9 * 729 * 1.2


def test_a_family_without_video_says_so() -> None:
    with pytest.raises(NotImplementedError, match="takes no video"):
        family_of(LLAVA).clip(1, 1, 1, 1.0)


@pytest.mark.parametrize(
    ("name", "config", "processor", "reason"),
    [
        (QWEN2_5, {}, {"patch_size": 16}, "image processor's patch_size is 16"),
        (QWEN2_5, {}, {"max_pixels": 10}, "limits in pixels are of no use"),
        (QWEN2_5, {"vision_config": {"patch_size": "14"}}, {}, "no usable patch_size: '14'"),
        (ONEVISION, {"image_grid_pinpoints": None}, {}, "no usable image_grid_pinpoints"),
        (ONEVISION, {"image_grid_pinpoints": [[384, 400]]}, {}, "multiples of the tile's 384"),
        (ONEVISION, {}, {"image_grid_pinpoints": [[384, 384]]}, "differ from those of the image"),
        (ONEVISION, {"vision_aspect_ratio": "square"}, {}, "has to be anyres_max_9, not square"),
        (ONEVISION, {"vision_feature_select_strategy": "default"}, {}, "has to be full"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(
    name: str, config: dict[str, object], processor: dict[str, object], reason: str
) -> None:
    files = published()[name].files
    changed = CheckpointFiles(
        {**files.config, **config}, {**files.image_processor, **processor}, files.video_processor
    )
    with pytest.raises(UnsupportedCheckpointError, match=reason):
        ENCODERS.family_of(changed, name)
