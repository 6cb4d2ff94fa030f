from dataclasses import replace

import pytest
import torch

from saccade.encoders.base import Prepared, VisualLayout
from saccade.serving.caches.tokens import UnreadableError, from_bytes, prepared_hash, to_bytes
from tests.unit.caches.some_features import equal, some_features

PIXELS = torch.arange(12, dtype=torch.float32).reshape(1, 3, 4)
PREPARED = Prepared("image", {"pixel_values": PIXELS, "sizes": torch.tensor([1])}, VisualLayout(6))


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("seen", [True, False])
def test_features_survive_the_way_to_bytes_and_back(positions: bool, seen: bool) -> None:
    features = some_features(1, positions=positions, seen=seen)
    assert equal(from_bytes(to_bytes(features)), features)


def test_steps_that_stand_apart_survive_it_too() -> None:
    features = some_features(1, steps_apart=6)
    again = from_bytes(to_bytes(features))
    assert equal(again, features)
    assert again.tokens.step_counts == (1,) * 6


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"\xff" * 100])
def test_other_bytes_are_no_tokens(data: bytes) -> None:
    with pytest.raises(UnreadableError):
        from_bytes(data)


def test_equal_pixels_have_one_hash_wherever_they_lie_in_memory() -> None:
    strided = PIXELS.transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided.is_contiguous()
    same = replace(PREPARED, tensors={"sizes": torch.tensor([1]), "pixel_values": strided})
    assert prepared_hash(same) == prepared_hash(PREPARED)


@pytest.mark.parametrize(
    "other",
    [
        replace(PREPARED, kind="video"),
        replace(PREPARED, layout=VisualLayout(5)),
        replace(PREPARED, layout=VisualLayout(6, grid=(1, 2, 3))),
        replace(PREPARED, tensors={**PREPARED.tensors, "pixel_values": PIXELS.reshape(1, 4, 3)}),
        replace(PREPARED, tensors={**PREPARED.tensors, "pixel_values": PIXELS.to(torch.bfloat16)}),
        replace(PREPARED, tensors={**PREPARED.tensors, "pixel_values": PIXELS + 1e-6}),
        replace(PREPARED, tensors={"pixel_values": PIXELS}),
    ],
    ids=["kind", "count", "grid", "shape", "format", "a pixel", "a tensor less"],
)
def test_what_differs_has_another_hash(other: Prepared) -> None:
    assert prepared_hash(other) != prepared_hash(PREPARED)
