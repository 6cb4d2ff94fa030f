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


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _add_rows(row: Floats, rows: Floats, picked: int, sign: float) -> None:
    """row += sign · rows[:, picked] @ rows, four rows at a time: `row` is loaded and stored less."""
    blocks = len(rows) // 4 * 4
    for first in range(0, blocks, 4):
        a, b, c, d = rows[first], rows[first + 1], rows[first + 2], rows[first + 3]
        wa, wb, wc, wd = sign * a[picked], sign * b[picked], sign * c[picked], sign * d[picked]
        for token in range(len(row)):
            row[token] += (wa * a[token] + wb * b[token]) + (wc * c[token] + wd * d[token])
    for last in range(blocks, len(rows)):
        weight = sign * rows[last, picked]
        for token in range(len(row)):
            row[token] += weight * rows[last, token]


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
            _add_rows(row, known, picked, np.float32(1))
        _add_rows(row, factor[:step], picked, np.float32(-1))
        scale = np.float32(1 / np.sqrt(residual[picked]))
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
