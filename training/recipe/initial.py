"""Weights to begin with.

A vision transformer has to find out from examples which patches are neighbours, and small ones on
little data hardly ever do. So its attention begins as a convolution: positions are sines and
cosines in dimensions of their own, and each head looks at the patch a given step away, since such
positions are shifted by a rotation. Everything is free to change from the first step on.
"""

import math
from itertools import cycle

import torch
from torch import Tensor, nn

from saccade.training.recipe.model import TinyModel, inner

STEPS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
"""Down and across, a head each."""

LARGEST_STD = 0.06
FOCUS = 10.0
"""Attention logit of the patch that a head looks at."""

POSITIONS_STRENGTH = 0.3
"""Beside what is seen, which has a variance of one where there is an edge, and less elsewhere."""

LEAST_VARIANCE = 0.1
"""Of a principal component; what varies less is noise, and is not blown up."""

SHORTEST_WAVE = 3.0
"""In patches."""

LEAST_FEATURE_VARIANCE_RATIO = 0.01
"""Of the mean over principal components of the tower's features."""

NEARLY_LINEAR = 0.25
"""Of inputs to GELU, their deviation with which little of them is bent away."""

VISUAL_TOKEN_STD = 2.0


def initialise(model: TinyModel) -> None:
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            continue
        if "embed" in name and "patch" not in name:
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.normal_(parameter, std=min(LARGEST_STD, parameter[0].numel() ** -0.5))
    _look_at_neighbours(model)


@torch.no_grad()
def whiten_patches(model: TinyModel, pictures: Tensor) -> None:
    """Let the patch embedding begin with the principal components of these pictures' patches,
    each scaled to a variance of one: edges, which say most, then weigh as much as plain colour.

    Pictures are [B, 3, S, S] of uint8.
    """
    sizes, embeddings = model.architecture.vision, inner(model.vision).embeddings
    size, head_width = sizes.patch_size, sizes.hidden_size // sizes.num_heads
    patches = nn.functional.unfold(model.pixels(pictures), size, stride=size)
    values = patches.transpose(1, 2).flatten(0, 1)
    variances, components = torch.linalg.eigh(torch.cov(values.T))
    count = sizes.hidden_size - head_width
    largest, directions = variances[-count:].flip(0), components[:, -count:].flip(1)
    scaled = directions / (largest + LEAST_VARIANCE).sqrt()
    embeddings.patch_embedding.weight[head_width:] = scaled.T.unflatten(1, (3, size, size))


@torch.no_grad()
def begin_projector(model: TinyModel, pictures: Tensor) -> None:
    """Let the projector begin with the principal components of what the tower makes of these
    pictures, each scaled to a variance of one.

    The tower's features are a thousand times longer than embedded words. Passed on at their length
    they drown whatever the layers of the language model add to them. Pictures are [B, 3, S, S] of
    uint8.
    """
    features = _features(model, pictures)
    variances, components = torch.linalg.eigh(torch.cov(features.T))
    least = LEAST_FEATURE_VARIANCE_RATIO * variances.mean()
    whitening = components / (variances + least).sqrt()
    first, second = model.projector.linear_1, model.projector.linear_2
    first.weight.normal_(std=NEARLY_LINEAR * first.in_features**-0.5)
    first.weight.copy_(first.weight @ whitening.T)
    first.bias.copy_(-first.weight @ features.mean(0))
    second.weight.normal_(std=second.in_features**-0.5)
    second.bias.zero_()
    second.weight *= VISUAL_TOKEN_STD / model.projector(features).std()


@torch.no_grad()
def carry_place(model: TinyModel, pictures: Tensor, place: Tensor, strength: float) -> None:
    """Let the first two numbers of each visual token say where its object is, with a deviation of
    `strength` times that of the others: a language model does not find what is faint.

    Through units in pairs, since GELU(x) - GELU(-x) is x; they take the place of the projector's
    first four. Pictures are [B, 3, S, S] of uint8, places [B, patches, 2].
    """
    features, place = _features(model, pictures), place.flatten(0, 1)
    first, second = model.projector.linear_1, model.projector.linear_2
    deviation = strength * model.projector(features)[:, 2:].std()
    standing = (place - place.mean(0)) / place.std(0)
    directions = torch.linalg.lstsq(features - features.mean(0), standing).solution.T  # [2, width]
    first.weight[:4] = torch.cat([directions, -directions])
    first.bias[:4] = -first.weight[:4] @ features.mean(0)
    second.weight[:, :4] = 0
    second.weight[:2] = 0
    second.bias[:2] = 0
    for number in range(2):
        second.weight[number, number] = deviation
        second.weight[number, 2 + number] = -deviation


def _features(model: TinyModel, pictures: Tensor) -> Tensor:
    """[B * patches, vision width]"""
    return torch.cat([model.features(some) for some in pictures.split(16)]).flatten(0, 1)


@torch.no_grad()
def _look_at_neighbours(model: TinyModel) -> None:
    sizes, vision = model.architecture.vision, inner(model.vision)
    side, head_width = sizes.image_size // sizes.patch_size, sizes.hidden_size // sizes.num_heads
    embeddings = vision.embeddings
    embeddings.class_embedding.normal_(std=0.02)
    turns = _turns(side, head_width // 4)
    # The first `head_width` dimensions are for positions, the others for what is seen.
    embeddings.position_embedding.weight[:, :head_width] = 0
    positions = POSITIONS_STRENGTH * _positions(side, turns)
    embeddings.position_embedding.weight[1:, :head_width] = positions
    embeddings.patch_embedding.weight[:head_width] = 0
    strength = math.sqrt(FOCUS * math.sqrt(head_width) / (head_width / 2))
    offsets = cycle(STEPS)
    for layer in vision.encoder.layers:
        attention = layer.self_attn
        for head in range(sizes.num_heads):
            rows = slice(head * head_width, (head + 1) * head_width)
            for projection, step in (
                (attention.q_proj, next(offsets)),
                (attention.k_proj, (0, 0)),
            ):
                projection.weight[rows] *= 0.3
                projection.weight[rows, :head_width] = strength * _shift(turns, step)
        attention.out_proj.weight[:head_width] = 0
        layer.mlp.fc2.weight[:head_width] = 0


def _turns(side: int, count: int) -> Tensor:
    """Radians from one patch to the next, for `count` waves from twice the picture's length on."""
    shortest = 2 * math.pi / SHORTEST_WAVE
    return torch.logspace(math.log10(math.pi / side), math.log10(shortest), count)


def _positions(side: int, turns: Tensor) -> Tensor:
    """[side * side, 4 * waves]: cosine and sine of row, then of column, wave by wave."""
    angles = torch.arange(side)[:, None] * turns
    line = torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(1)
    down = line[:, None].expand(side, side, -1)
    across = line[None].expand(side, side, -1)
    return torch.cat([down, across], dim=-1).reshape(side * side, -1)


def _shift(turns: Tensor, step: tuple[int, int]) -> Tensor:
    """The matrix that takes every position to the one `step` away."""
    blocks = []
    for along in step:
        for angle in (turns * along).tolist():
            cos, sin = math.cos(angle), math.sin(angle)
            blocks.append(torch.tensor([[cos, -sin], [sin, cos]]))
    matrix: Tensor = torch.block_diag(*blocks)
    return matrix
