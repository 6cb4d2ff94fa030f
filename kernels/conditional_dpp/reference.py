"""Greedy MAP inference of a conditional DPP in PyTorch: one loop for all pictures of a batch."""

import torch
from torch.nn.functional import normalize

SPENT = 1e-5
"""A token's residual, as a share of its squared length, below which float32 has only noise left."""


def conditional_dpp(features: torch.Tensor, relevance: torch.Tensor, keep: int) -> torch.Tensor:
    """Indices [B, keep] in the order of choice, of `features` [B, N, D] with `relevance` [B, N].

    Each step takes the token that multiplies det(L̃_S) most, L̃_ij = r_i cos(i, j) r_j, by
    incremental Cholesky (Chen et al. 2018; CDPruner, arXiv 2506.10967). The factor of token i is
    d²_i = r_i² ρ_i; ρ_i, the residual of its direction, needs no relevance, so that a tiny r_i
    costs no digits. Rows of the kernel are computed when their token is chosen, and the factor's
    rows stand beside the features: a step is one product, and L̃ never exists.

    Tokens whose residual is spent (doubles, or more tokens than dimensions) come after all others,
    by relevance; among equals the first index wins.
    """
    batch, num_tokens, width = features.shape
    rows = torch.arange(batch, device=features.device)
    # [directions | factor]: L_ij - <c_i, c_j> is a product of rows, the factor's sign reversed.
    known = features.new_zeros((batch, num_tokens, width + keep), dtype=torch.float32)
    known[:, :, :width] = normalize(features.float(), dim=-1)
    sign = known.new_ones(width + keep)
    sign[width:] = -1
    residual = known.any(-1).float()  # [B, N]: exactly 1, or 0 for a token that is zero
    squared = relevance.float().square()
    order = torch.empty((batch, keep), dtype=torch.int64, device=features.device)
    for step in range(keep):
        picked = _best(residual, squared)
        order[:, step] = picked
        end = width + step
        direction = known[rows, picked, :end] * sign[:end]
        scale = residual[rows, picked].clamp_min(SPENT).rsqrt()
        column = torch.bmm(known[:, :, :end], (direction * scale[:, None])[:, :, None])[:, :, 0]
        # What is spent has nothing to take from the others.
        column *= (residual[rows, picked] > SPENT)[:, None]
        known[:, :, end] = column
        residual = torch.addcmul(residual, column, column, value=-1)
        squared[rows, picked] = -1
    return order


def _best(residual: torch.Tensor, squared: torch.Tensor) -> torch.Tensor:
    """[B]: the largest gain; where none is left, the largest relevance. Chosen ones have -1."""
    gain = torch.where(residual > SPENT, residual * squared, 0)  # [B, N], negative if chosen
    anything = gain.amax(1, keepdim=True) > 0
    return torch.where(anything, gain, squared).argmax(1)
