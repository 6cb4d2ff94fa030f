"""Where in the picture the object of a patch is: as a target, as a reading, and in a projector."""

import pytest
import torch

from saccade.training.data import Split, still
from saccade.training.recipe.initial import begin_projector, carry_place, initialise
from saccade.training.recipe.model import TinyModel
from saccade.training.recipe.patch_heads import PlaceHead
from saccade.training.recipe.pictures import OFFSETS_IN_A_PICTURE, PatchTargets, squeezed
from tests.unit.training.recipe.miniature import MINIATURE

SIDE = MINIATURE.vision.image_size // MINIATURE.vision.patch_size
EXAMPLES = [still(Split.TRAIN, 3, index) for index in range(6)]
TARGETS = PatchTargets.of(EXAMPLES, SIDE)


def test_a_patch_with_an_object_says_where_that_is() -> None:
    first_region = 0
    for example, place, region in zip(EXAMPLES, TARGETS.place, TARGETS.region, strict=True):
        scene = example.scenes[0]
        for number, thing in enumerate(scene.objects):
            told = place[region == first_region + number] / OFFSETS_IN_A_PICTURE
            middle = torch.tensor([thing.x / scene.width, thing.y / scene.height])
            torch.testing.assert_close(told, middle.expand_as(told), atol=1e-5, rtol=0)
        first_region += len(scene.objects)


def test_a_patch_of_the_background_says_where_it_is_itself() -> None:
    ticks = (torch.arange(SIDE) + 0.5) / SIDE * OFFSETS_IN_A_PICTURE
    patches = torch.cartesian_prod(ticks, ticks).flip(1).expand_as(TARGETS.place)
    background = TARGETS.region < 0
    torch.testing.assert_close(TARGETS.place[background], patches[background])


def test_a_place_and_an_offset_are_one_from_the_other() -> None:
    ticks = (torch.arange(SIDE) + 0.5) / SIDE * OFFSETS_IN_A_PICTURE
    patches = torch.cartesian_prod(ticks, ticks).flip(1)
    torch.testing.assert_close(TARGETS.place, patches + TARGETS.offset, atol=1e-5, rtol=0)


def test_objects_and_background_weigh_the_same() -> None:
    head = PlaceHead(4)
    features = torch.randn(1, 10, 4)
    read = head(features).detach()
    owned = torch.arange(10)[None] < 1
    off = torch.where(owned[..., None], read + 2.5, read + 1.5)
    # Beyond 1, smooth L1 is the distance less a half; of two numbers each.
    assert head.loss(features, off, owned).item() == pytest.approx((2 * 2.0 + 2 * 1.0) / 2)


def test_a_projector_carries_the_place_in_the_first_two_numbers() -> None:
    """To the digit what a linear reading of the tower's features gives."""
    torch.manual_seed(0)
    model = TinyModel(MINIATURE)
    initialise(model)
    pictures = torch.stack([squeezed(e.pictures[0], MINIATURE.vision.image_size) for e in EXAMPLES])
    begin_projector(model, pictures)
    with torch.no_grad():
        features = model.features(pictures).flatten(0, 1).double()
        others = model.projector(features.float())[:, 2:].std()
        carry_place(model, pictures, TARGETS.place, strength=2.0)
        tokens = model.projector(features.float()).double()
    place = TARGETS.place.flatten(0, 1).double()
    standing = (place - place.mean(0)) / place.std(0)
    centred = features - features.mean(0)
    read = centred @ torch.linalg.lstsq(centred, standing).solution
    torch.testing.assert_close(tokens[:, :2], 2 * others * read, atol=2e-2, rtol=1e-2)
