"""Stage two: both towers.

The tower imitates the teacher, layer by layer, and reads patches as it does. Two contrastive losses
come with that: CLIP's, between a picture and its caption, and the same between an object's patches
and its name, so that single patches mean something in the joint space.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize

from saccade.training.architecture import VisionSizes
from saccade.training.data import Example, Split, still
from saccade.training.recipe.device import on_device
from saccade.training.recipe.initial import whiten_patches
from saccade.training.recipe.model import TinyModel
from saccade.training.recipe.patch_heads import PatchHeads
from saccade.training.recipe.pictures import PatchTargets, squeezed
from saccade.training.recipe.settings import ContrastiveStage
from saccade.training.recipe.teacher import DEPTHS, Teacher, widths_of_depths
from saccade.training.tokenizer import build_tokenizer, text_tower_tokenizer

DEPTHS_AT_FIRST = 2

PICTURES_TO_WHITEN = 256
LARGEST_LOGIT_SCALE = 4.6052
"""log(100), CLIP's own limit."""


@dataclass(frozen=True)
class ContrastiveBatch:
    pictures: Tensor  # [B, 3, S, S] of uint8
    captions: Tensor  # [B, L] token ids
    captions_mask: Tensor
    names: Tensor  # [K, M] token ids of the different names of objects
    names_mask: Tensor
    name_of_region: Tensor  # [R], row of `names`
    number: int
    patches: PatchTargets


class Imitation(nn.Module):
    """The teacher's features of a patch, from those of the tower."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.readers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(sizes.hidden_size), nn.Linear(sizes.hidden_size, width))
            for width in widths_of_depths(sizes)
        )

    def loss(self, hidden: Sequence[Tensor], taught: Sequence[Tensor]) -> Tensor:
        """Mean squared error of the last of `hidden`, a layer each, in shares of the variance of
        what is taught there."""
        parts = [
            mse_loss(reader(layer[:, 1:]), wanted) / wanted.var()
            for layer, reader, wanted in zip(hidden, self.readers, taught, strict=False)
        ]
        return torch.stack(parts).mean()


class ContrastiveTask:
    def __init__(self, model: TinyModel, settings: ContrastiveStage, teacher: Teacher) -> None:
        self.model = model
        self.settings = settings
        sizes = model.architecture.vision
        self._patches_side = sizes.image_size // sizes.patch_size
        self.heads = PatchHeads(sizes)
        self._teacher = teacher
        self.imitation = Imitation(sizes)
        self._tokenizer = text_tower_tokenizer(build_tokenizer(model.architecture))
        self._side = sizes.image_size
        self._kept: dict[int, list[Tensor]] = {}
        self._feature_layer = sizes.num_layers + 1 + sizes.feature_layer
        self._first_layer = self._feature_layer - DEPTHS + 1

    def modules(self) -> dict[str, nn.Module]:
        """What is trained, or kept for going on."""
        return {"model": self.model, "heads": self.heads, "imitation": self.imitation}

    def begin(self) -> None:
        batches = -(-PICTURES_TO_WHITEN // self.settings.schedule.batch_size)
        pictures = [self.batch(-1 - number).pictures for number in range(batches)]
        whiten_patches(self.model, torch.cat(pictures).to(self.model.device))

    def trained(self) -> Iterable[nn.Parameter]:
        model = self.model
        parts = (model.vision, model.text, model.visual_projection, self.heads, self.imitation)
        for part in parts:
            yield from part.parameters()
        yield model.logit_scale

    def batch(self, number: int) -> ContrastiveBatch:
        size = self.settings.schedule.batch_size
        return self._batch(
            [
                still(Split.TRAIN, self.settings.seed, number * size + i, ("colour",))
                for i in range(size)
            ],
            number,
        )

    def _depths(self, step: int) -> int:
        every = self.settings.grow_every
        return min(DEPTHS, DEPTHS_AT_FIRST + step // every) if every else DEPTHS

    def loss(self, batch: ContrastiveBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        depths = self._depths(step)
        grown = depths == DEPTHS
        layers = self.model.layers(
            batch.pictures, None if grown else self._first_layer + depths - 1
        )
        imitation = self.imitation.loss(
            layers[self._first_layer :], self._taught_in(batch)[:depths]
        )
        total, parts = self.settings.imitation_weight * imitation, {"imitation": imitation}
        if grown:
            others = self._contrasts(layers[-1], batch)
            heads = self.heads.losses(layers[self._feature_layer][:, 1:], batch.patches)
            settings = self.settings
            total = (
                total
                + settings.caption_weight * others["pictures"]
                + settings.region_weight * others["regions"]
                + settings.patch_weight * torch.stack(list(heads.values())).sum()
            )
            parts |= others | heads
        return total, parts

    @torch.no_grad()
    def _taught_in(self, batch: ContrastiveBatch) -> list[Tensor]:
        """What the teacher makes of the pictures, which takes as long as half a step of the tower:
        kept if they come again, and rounded the first time too, so that a run that goes on sees
        the same."""
        if batch.number in self._kept:
            return [depth.float() for depth in self._kept[batch.number]]
        taught: list[Tensor] = self._teacher(self.model.pixels(batch.pictures))
        if not self.settings.schedule.different_batches:
            return taught
        self._kept[batch.number] = [depth.half() for depth in taught]
        return self._taught_in(batch)

    def _contrasts(self, last_layer: Tensor, batch: ContrastiveBatch) -> dict[str, Tensor]:
        joint = self.model.joint_picture(last_layer)
        texts = self.model.joint_text(batch.captions, batch.captions_mask)
        names = self.model.joint_text(batch.names, batch.names_mask)
        return {
            "pictures": self._symmetric(joint[:, 0], texts),
            "regions": self._regions(joint[:, 1:], names, batch),
        }

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On the held-out split: of captions of a batch, which share finds its picture, and of
        patches with an object, which share is read rightly."""
        count, size = self.settings.reports.evaluation_examples, 32
        results: list[dict[str, float]] = []
        for start in range(0, count, size):
            batch = self._batch(
                [still(Split.HELD_OUT, 0, start + i, ("colour",)) for i in range(size)]
            )
            results.append(self._scores(on_device(batch, self.model.device)))
        return {name: sum(r[name] for r in results) / len(results) for name in results[0]}

    def _scores(self, batch: ContrastiveBatch) -> dict[str, float]:
        layers = self.model.layers(batch.pictures)
        joint = normalize(self.model.joint_picture(layers[-1]), dim=-1)
        texts = normalize(self.model.joint_text(batch.captions, batch.captions_mask), dim=-1)
        found = (texts @ joint[:, 0].T).argmax(1)
        right = (found == torch.arange(len(texts), device=found.device)).float().mean()
        features = layers[self._feature_layer]
        return {"retrieval": right.item()} | self.heads.scores(features[:, 1:], batch.patches)

    def _symmetric(self, pictures: Tensor, texts: Tensor) -> Tensor:
        logits = self._logits(pictures, texts)
        right = torch.arange(len(logits), device=logits.device)
        return (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2

    def _regions(self, patches: Tensor, names: Tensor, batch: ContrastiveBatch) -> Tensor:
        region = batch.patches.region
        owned = region >= 0
        sums = patches.new_zeros(len(batch.name_of_region), patches.shape[-1])
        sums = sums.index_add(0, region[owned], normalize(patches[owned], dim=-1))
        seen = sums.abs().sum(-1) > 0  # a very small object may own no patch
        return cross_entropy(self._logits(sums[seen], names), batch.name_of_region[seen])

    def _logits(self, pictures: Tensor, texts: Tensor) -> Tensor:
        scale = self.model.logit_scale.clamp(max=LARGEST_LOGIT_SCALE).exp()
        return scale * normalize(pictures, dim=-1) @ normalize(texts, dim=-1).T

    def _batch(self, examples: Sequence[Example], number: int = -1) -> ContrastiveBatch:
        of_regions = [f"a {o.colour} {o.shape}" for e in examples for o in e.scenes[0].objects]
        different = sorted(set(of_regions))
        captions, captions_mask = padded(self._tokenizer, [e.caption for e in examples])
        names, names_mask = padded(self._tokenizer, different)
        return ContrastiveBatch(
            pictures=torch.stack([squeezed(e.pictures[0], self._side) for e in examples]),
            captions=captions,
            captions_mask=captions_mask,
            names=names,
            names_mask=names_mask,
            name_of_region=torch.tensor([different.index(n) for n in of_regions]),
            patches=PatchTargets.of(examples, self._patches_side),
            number=number,
        )


def padded(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask, [len(texts), longest]; padding on the right."""
    encoded = [e.ids for e in tokenizer.encode_batch(list(texts))]
    longest = max(map(len, encoded))
    ids = torch.tensor([e + [0] * (longest - len(e)) for e in encoded])
    mask = torch.tensor([[1] * len(e) + [0] * (longest - len(e)) for e in encoded])
    return ids, mask
