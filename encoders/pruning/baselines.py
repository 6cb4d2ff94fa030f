"""What methods are compared with: evenly, by chance, by distance alone, by attention."""

import torch
from torch.nn.functional import normalize

from saccade.encoders.pruning.checks import check_finite, check_keep, check_shape
from saccade.kernels import ops

CONTEXTUAL_RATIO = 5 / 32
"""Of VisionZip's tokens, those that are merged: 10 of 64, as published for LLaVA-1.5."""


def uniform(num_tokens: int, keep: int) -> torch.Tensor:
    """Rising indices [keep]: the middles of `keep` equal parts of the sequence."""
    check_keep(keep, num_tokens)
    return (2 * torch.arange(keep) + 1) * num_tokens // (2 * keep)


def random(num_tokens: int, keep: int, seed: int) -> torch.Tensor:
    """Rising indices [keep], the same for the same seed and counts on every device."""
    check_keep(keep, num_tokens)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(num_tokens, generator=generator)[:keep].sort().values


def divprune(features: torch.Tensor, keep: int) -> torch.Tensor:
    """Rising indices [B, keep] of `features` [B, N, D]: greedy max-min cosine distance."""
    check_shape("features", features, "B", "N", "D")
    check_keep(keep, features.shape[1])
    check_finite(features=features)
    return ops.farthest_points(features, keep).sort(1).values


def visionzip(
    features: torch.Tensor,
    metric: torch.Tensor,
    attention: torch.Tensor,
    keep: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [B, keep, D] and the rising indices [B, keep] whose places they take.

    In the manner of VisionZip (arXiv 2412.04467): most are those with the most attention [B, N];
    the others are evenly spaced among the rest, which they take in by the cosines of `metric`
    [B, N, C]. Theirs is the mean of all that they stand for; the authors, who merge in front of the
    projector, add that mean to the token itself, and use the tower's keys as the metric.
    """
    check_shape("features", features, "B", "N", "D")
    check_shape("metric", metric, "B", "N", "C")
    num_tokens = features.shape[1]
    check_keep(keep, num_tokens)
    check_finite(features=features, metric=metric, attention=attention)
    num_contextual = round(keep * CONTEXTUAL_RATIO)
    ranked = attention.sort(dim=1, descending=True, stable=True).indices
    dominant = ranked[:, : keep - num_contextual].sort(1).values
    rest = ranked[:, keep - num_contextual :].sort(1).values
    if num_contextual == 0:
        return _rows(features, dominant), dominant
    spaced = uniform(rest.shape[1], num_contextual).to(features.device)
    tokens = _taken_in(_rows(features, rest), _rows(metric, rest), spaced)
    indices, order = torch.cat([dominant, rest[:, spaced]], 1).sort(1)
    return _rows(torch.cat([_rows(features, dominant), tokens], 1), order), indices


def _taken_in(features: torch.Tensor, metric: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """[B, c, D]: the mean of each target and the tokens that are most like it."""
    directions = normalize(metric.float(), dim=-1)
    owner = (directions @ directions[:, targets].transpose(1, 2)).argmax(-1)
    centres = targets.expand(len(features), -1)
    own = torch.arange(len(targets), device=features.device).expand_as(centres)
    owner.scatter_(1, centres, own)
    weight = torch.nn.functional.one_hot(owner, len(targets)).float().transpose(1, 2)
    mean = weight @ features.float() / weight.sum(-1, keepdim=True)
    return mean.to(features.dtype)


def _rows(tensor: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    return tensor.gather(1, indices[:, :, None].expand(-1, -1, tensor.shape[-1]))
