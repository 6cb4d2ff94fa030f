"""Greedy MAP inference of a conditional DPP on CPUs, compiled by Numba.

Every step needs the one before it, and has some microseconds of arithmetic: as calls of PyTorch it
would cost several times that in dispatch alone. Pictures come one after the other, so that one's
features stay in the core's cache. Releases the GIL; several threads may call it.
"""

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from saccade.kernels.conditional_dpp.reference import SPENT

Floats = NDArray[np.float32]

SHARE_OF_PAIRS = 8
"""A matrix product computes all pairs about this many times as fast as the loop does its own."""
CACHED_NUMBERS = 2**18
"""Features of a picture up to this many numbers stay in a core's cache from step to step."""


@numba.njit(cache=True, nogil=True)
def _best(residual: Floats, squared: Floats) -> int:
    picked, most = -1, np.float32(0)
    for token in range(len(squared)):
        if residual[token] > SPENT and residual[token] * squared[token] > most:
            picked, most = token, residual[token] * squared[token]
    if picked >= 0:
        return picked
    most = np.float32(-2)
    for token in range(len(squared)):
        if squared[token] > most:
            picked, most = token, squared[token]
    return picked


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _greedy(
    known: Floats,
    are_similarities: bool,
    squared: Floats,
    residual: Floats,
    order: NDArray[np.int64],
) -> None:
    """One picture. `known` [W, N] are directions by column, or similarities [N, N]."""
    num_tokens, keep = len(squared), len(order)
    factor = np.zeros((keep, num_tokens), np.float32)
    for step in range(keep):
        picked = _best(residual, squared)
        order[step] = picked
        squared[picked] = -1
        if residual[picked] <= SPENT:
            continue  # What is spent has nothing to take from the others.
        row = factor[step]
        if are_similarities:
            row += known[picked]
        else:
            for column in range(len(known)):
                weight = known[column, picked]
                for token in range(num_tokens):
                    row[token] += weight * known[column, token]
        for earlier in range(step):
            weight = factor[earlier, picked]
            for token in range(num_tokens):
                row[token] -= weight * factor[earlier, token]
        scale = 1 / np.sqrt(residual[picked])
        for token in range(num_tokens):
            row[token] *= scale
            residual[token] -= row[token] * row[token]


def conditional_dpp(features: torch.Tensor, relevance: torch.Tensor, keep: int) -> torch.Tensor:
    """See the reference of the same name."""
    batch, num_tokens, width = features.shape
    directions = normalize(features.detach().float(), dim=-1)
    residual = directions.any(-1).float().numpy()
    squared = relevance.detach().float().square().numpy()
    all_pairs = keep * SHARE_OF_PAIRS >= num_tokens or num_tokens * width > CACHED_NUMBERS
    order = np.empty((batch, keep), np.int64)
    for picture in range(batch):
        known = directions[picture].T
        known = directions[picture] @ known if all_pairs else known.contiguous()
        _greedy(known.numpy(), all_pairs, squared[picture], residual[picture], order[picture])
    return torch.from_numpy(order)
