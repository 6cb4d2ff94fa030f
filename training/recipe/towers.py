"""Both towers, from pictures, their captions and what every patch shows.

The tower reads patches, and two contrastive losses come with that: CLIP's, between a picture and
its caption, and the same between an object's patches and its name, so that single patches mean
something in the joint space.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from saccade.training.data import Example, Split, still
from saccade.training.recipe.device import on_device
from saccade.training.recipe.model import TinyModel
from saccade.training.recipe.patch_heads import PatchHeads, PlaceHead
from saccade.training.recipe.pictures import PatchTargets, squeezed
from saccade.training.recipe.settings import ContrastiveStage, RefinementStage
from saccade.training.tokenizer import build_tokenizer, text_tower_tokenizer

LARGEST_LOGIT_SCALE = 4.6052
"""log(100), CLIP's own limit."""


@dataclass(frozen=True)
class TowersBatch:
    pictures: Tensor  # [B, 3, S, S] of uint8
    captions: Tensor  # [B, L] token ids
    captions_mask: Tensor
    names: Tensor  # [K, M] token ids of the different names of objects
    names_mask: Tensor
    name_of_region: Tensor  # [R], row of `names`
    number: int
    patches: PatchTargets


class TowersTask:
    """Of a tower that can see already: pictures that come once make its reading surer."""

    def __init__(self, model: TinyModel, settings: ContrastiveStage | RefinementStage) -> None:
        self.model = model
        self.settings = settings
        sizes = model.architecture.vision
        self._patches_side = sizes.image_size // sizes.patch_size
        self.heads = PatchHeads(sizes)
        self.place_head = PlaceHead(sizes.hidden_size)
        self._tokenizer = text_tower_tokenizer(build_tokenizer(model.architecture))
        self._side = sizes.image_size
        self._feature_layer = sizes.num_layers + 1 + sizes.feature_layer

    def modules(self) -> dict[str, nn.Module]:
        """What is trained, or kept for going on."""
        return {"model": self.model, "heads": self.heads, "place": self.place_head}

    def begin(self) -> None:
        """From what the tower knows."""

    def trained(self) -> Iterable[nn.Parameter]:
        model = self.model
        for part in (
            model.vision,
            model.text,
            model.visual_projection,
            self.heads,
            self.place_head,
        ):
            yield from part.parameters()
        yield model.logit_scale

    def batch(self, number: int) -> TowersBatch:
        size = self.settings.schedule.batch_size
        return self._batch(
            [
                still(Split.TRAIN, self.settings.seed, number * size + i, ("colour",))
                for i in range(size)
            ],
            number,
        )

    def loss(self, batch: TowersBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.losses(self.model.layers(batch.pictures), batch)

    def losses(
        self, layers: Sequence[Tensor], batch: TowersBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """From what goes into the tower's first layer and comes out of each."""
        contrasts = self._contrasts(layers[-1], batch)
        features = layers[self._feature_layer][:, 1:]
        heads = self.heads.losses(features, batch.patches)
        place = self.place_head.loss(features, *_places(batch.patches))
        settings = self.settings
        total = (
            settings.caption_weight * contrasts["pictures"]
            + settings.region_weight * contrasts["regions"]
            + settings.patch_weight * torch.stack(list(heads.values())).sum()
            + settings.place_weight * place
        )
        return total, contrasts | heads | {"place": place}

    def _contrasts(self, last_layer: Tensor, batch: TowersBatch) -> dict[str, Tensor]:
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

    def _scores(self, batch: TowersBatch) -> dict[str, float]:
        layers = self.model.layers(batch.pictures)
        joint = normalize(self.model.joint_picture(layers[-1]), dim=-1)
        texts = normalize(self.model.joint_text(batch.captions, batch.captions_mask), dim=-1)
        found = (texts @ joint[:, 0].T).argmax(1)
        right = (found == torch.arange(len(texts), device=found.device)).float().mean()
        features = layers[self._feature_layer]
        return {
            "retrieval": right.item(),
            **self.heads.scores(features[:, 1:], batch.patches),
            "place": self.place_head.score(features[:, 1:], *_places(batch.patches)),
        }

    def _symmetric(self, pictures: Tensor, texts: Tensor) -> Tensor:
        logits = self._logits(pictures, texts)
        right = torch.arange(len(logits), device=logits.device)
        return (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2

    def _regions(self, patches: Tensor, names: Tensor, batch: TowersBatch) -> Tensor:
        region = batch.patches.region
        owned = region >= 0
        sums = patches.new_zeros(len(batch.name_of_region), patches.shape[-1])
        sums = sums.index_add(0, region[owned], normalize(patches[owned], dim=-1))
        seen = sums.abs().sum(-1) > 0  # a very small object may own no patch
        return cross_entropy(self._logits(sums[seen], names), batch.name_of_region[seen])

    def _logits(self, pictures: Tensor, texts: Tensor) -> Tensor:
        scale = self.model.logit_scale.clamp(max=LARGEST_LOGIT_SCALE).exp()
        return scale * normalize(pictures, dim=-1) @ normalize(texts, dim=-1).T

    def _batch(self, examples: Sequence[Example], number: int = -1) -> TowersBatch:
        of_regions = [f"a {o.colour} {o.shape}" for e in examples for o in e.scenes[0].objects]
        different = sorted(set(of_regions))
        captions, captions_mask = padded(self._tokenizer, [e.caption for e in examples])
        names, names_mask = padded(self._tokenizer, different)
        return TowersBatch(
            pictures=torch.stack([squeezed(e.pictures[0], self._side) for e in examples]),
            captions=captions,
            captions_mask=captions_mask,
            names=names,
            names_mask=names_mask,
            name_of_region=torch.tensor([different.index(n) for n in of_regions]),
            patches=PatchTargets.of(examples, self._patches_side),
            number=number,
        )


def _places(patches: PatchTargets) -> tuple[Tensor, Tensor]:
    return patches.place, patches.region >= 0


def padded(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask, [len(texts), longest]; padding on the right."""
    encoded = [e.ids for e in tokenizer.encode_batch(list(texts))]
    longest = max(map(len, encoded))
    ids = torch.tensor([e + [0] * (longest - len(e)) for e in encoded])
    mask = torch.tensor([[1] * len(e) + [0] * (longest - len(e)) for e in encoded])
    return ids, mask
