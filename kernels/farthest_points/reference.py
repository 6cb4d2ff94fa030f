"""Farthest-point selection by cosine distance in PyTorch."""

import torch
from torch.nn.functional import normalize


def farthest_points(features: torch.Tensor, keep: int) -> torch.Tensor:
    """Indices [B, keep] in the order of choice, of `features` [B, N, D].

    First the token whose nearest neighbour is farthest, then again and again the one whose nearest
    chosen token is farthest; distance is 1 - cos. Among equals the first index wins. This is how
    DivPrune approaches max-min diversity, and BTP's F with an empty initial set.
    """
    directions = normalize(features.float(), dim=-1)
    similarity = directions @ directions.transpose(1, 2)  # [B, N, N]
    rows = torch.arange(len(features), device=features.device)
    order = torch.empty((len(features), keep), dtype=torch.int64, device=features.device)
    picked = first_point(similarity)
    nearest = torch.full_like(similarity[:, 0], -torch.inf)  # cos to the nearest chosen token
    for step in range(keep):
        order[:, step] = picked
        nearest = torch.maximum(nearest, similarity[rows, picked])
        nearest[rows, picked] = torch.inf
        picked = nearest.argmin(1)
    return order


def first_point(similarity: torch.Tensor) -> torch.Tensor:
    """[B]: the token whose nearest other token is farthest, by cosines [B, N, N]."""
    own = torch.eye(similarity.shape[1], dtype=torch.bool, device=similarity.device)
    return similarity.masked_fill(own, -torch.inf).amax(2).argmin(1)
