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

from saccade.training.data import Example, Split, still
from saccade.training.recipe.initial import whiten_patches
from saccade.training.recipe.model import TinyModel
from saccade.training.recipe.patch_heads import PatchHeads
from saccade.training.recipe.pictures import PatchTargets, squeezed
from saccade.training.recipe.settings import ContrastiveStage
from saccade.training.recipe.teacher import Teacher
from saccade.training.tokenizer import build_tokenizer, text_tower_tokenizer

IMITATING_LAYERS = (-5, -4, -3, -2)
"""Which hidden states of the tower follow the teacher's four depths."""

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
    patches: PatchTargets


class Imitation(nn.Module):
    """The teacher's features of a patch, from those of the tower."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.readers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for _ in IMITATING_LAYERS
        )

    def loss(self, hidden_states: Sequence[Tensor], taught: Sequence[Tensor]) -> Tensor:
        """Mean squared error, in shares of the variance of what is taught."""
        parts = []
        for layer, reader, wanted in zip(IMITATING_LAYERS, self.readers, taught, strict=True):
            read = reader(hidden_states[layer][:, 1:])
            parts.append(mse_loss(read, wanted) / wanted.var())
        return torch.stack(parts).mean()


class ContrastiveTask:
    def __init__(self, model: TinyModel, settings: ContrastiveStage, teacher: Teacher) -> None:
        self.model = model
        self.settings = settings
        sizes = model.architecture.vision
        self._patches_side = sizes.image_size // sizes.patch_size
        self.heads = PatchHeads(sizes)
        self._teacher = teacher
        self.imitation = Imitation(sizes.hidden_size)
        self._tokenizer = text_tower_tokenizer(build_tokenizer(model.architecture))
        self._side = model.architecture.vision.image_size

    def modules(self) -> dict[str, nn.Module]:
        """What is trained, or kept for going on."""
        return {"model": self.model, "heads": self.heads, "imitation": self.imitation}

    def begin(self) -> None:
        """Called once, if the weights are random."""
        batches = -(-PICTURES_TO_WHITEN // self.settings.schedule.batch_size)
        pictures = [self.batch(-1 - number).pictures for number in range(batches)]
        whiten_patches(self.model, torch.cat(pictures))

    def trained(self) -> Iterable[nn.Parameter]:
        model = self.model
        parts = (model.vision, model.text, model.visual_projection, self.heads, self.imitation)
        for part in parts:
            yield from part.parameters()
        yield model.logit_scale

    def batch(self, step: int) -> ContrastiveBatch:
        size = self.settings.schedule.batch_size
        return self._batch(
            [
                still(Split.TRAIN, self.settings.seed, step * size + i, ("colour",))
                for i in range(size)
            ]
        )

    def loss(self, batch: ContrastiveBatch) -> tuple[Tensor, dict[str, Tensor]]:
        layers = self.model.layers(batch.pictures)
        joint = self.model.joint_picture(layers[-1])
        texts = self.model.joint_text(batch.captions, batch.captions_mask)
        names = self.model.joint_text(batch.names, batch.names_mask)
        with torch.no_grad():
            taught = self._teacher(self.model.pixels(batch.pictures))
        parts = {
            "pictures": self._symmetric(joint[:, 0], texts),
            "regions": self._regions(joint[:, 1:], names, batch),
            "imitation": self.imitation.loss(layers, taught),
        }
        features = layers[self.model.architecture.vision.feature_layer]
        heads = self.heads.losses(features[:, 1:], batch.patches)
        settings = self.settings
        total = (
            settings.caption_weight * parts["pictures"]
            + settings.region_weight * parts["regions"]
            + settings.imitation_weight * parts["imitation"]
            + settings.patch_weight * torch.stack(list(heads.values())).sum()
        )
        return total, parts | heads

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
            results.append(self._scores(batch))
        return {name: sum(r[name] for r in results) / len(results) for name in results[0]}

    def _scores(self, batch: ContrastiveBatch) -> dict[str, float]:
        layers = self.model.layers(batch.pictures)
        joint = normalize(self.model.joint_picture(layers[-1]), dim=-1)
        texts = normalize(self.model.joint_text(batch.captions, batch.captions_mask), dim=-1)
        found = (texts @ joint[:, 0].T).argmax(1)
        right = (found == torch.arange(len(texts), device=found.device)).float().mean()
        features = layers[self.model.architecture.vision.feature_layer]
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

    def _batch(self, examples: Sequence[Example]) -> ContrastiveBatch:
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
        )


def padded(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask, [len(texts), longest]; padding on the right."""
    encoded = [e.ids for e in tokenizer.encode_batch(list(texts))]
    longest = max(map(len, encoded))
    ids = torch.tensor([e + [0] * (longest - len(e)) for e in encoded])
    mask = torch.tensor([[1] * len(e) + [0] * (longest - len(e)) for e in encoded])
    return ids, mask
