"""Greedy MAP inference of a conditional DPP on CPUs, compiled by Numba.

Every step needs the one before it, and has some microseconds of arithmetic: as calls of PyTorch it
would cost several times that in dispatch alone. It is also lazy: gains only ever fall, so a token
whose last known gain is below another's true one need not be looked at (Minoux 1978). Pictures come
one after the other, so that one's features stay in the core's cache. Releases the GIL; several
threads may call it.
"""

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from saccade.kernels.conditional_dpp.reference import SPENT

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]

CACHED_NUMBERS = 2**18
"""Features of a picture up to this many numbers stay in a core's cache from step to step; with
more, a matrix product of all pairs comes first."""

_compiled = numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})


@_compiled
def _dot(a: Floats, b: Floats) -> np.float32:
    total = np.float32(0)
    for index in range(len(a)):
        total += a[index] * b[index]
    return total


@_compiled
def _gain(residual: Floats, squared: Floats, token: int) -> np.float32:
    if residual[token] > SPENT:
        gain: np.float32 = residual[token] * squared[token]
        return gain
    return np.float32(0)


@_compiled
def _refresh(
    token: int,
    known: Floats,
    are_similarities: bool,
    residual: Floats,
    factor: Floats,  # [N, K]: of each token, its rows so far
    num_rows: Whole,  # [N]: how many those are
    scales: Floats,  # [K]: 1 / √ρ of what was chosen, 0 if it was spent
    order: Whole,
    step: int,
) -> None:
    """Bring a token's residual up to `step`."""
    for row in range(num_rows[token], step):
        if scales[row] > 0:
            chosen = order[row]
            entry = known[token, chosen] if are_similarities else _dot(known[token], known[chosen])
            entry -= _dot(factor[token, :row], factor[chosen, :row])
            factor[token, row] = entry * scales[row]
            residual[token] -= factor[token, row] * factor[token, row]
    num_rows[token] = step


@_compiled
def _greedy(
    known: Floats, are_similarities: bool, squared: Floats, residual: Floats, order: Whole
) -> None:
    """One picture. `known` are directions [N, D], or similarities [N, N]."""
    num_tokens, keep = len(squared), len(order)
    factor = np.zeros((num_tokens, keep), np.float32)
    num_rows = np.zeros(num_tokens, np.int64)
    scales = np.zeros(keep, np.float32)
    for step in range(keep):
        picked, most = -1, np.float32(0)
        lead, highest = 0, np.float32(-1)
        for token in range(num_tokens):
            if _gain(residual, squared, token) > highest:
                lead, highest = token, _gain(residual, squared, token)
        # The one that led last is likely to lead, and spares others the look.
        for place in range(-1, num_tokens):
            token = lead if place < 0 else place
            last_known = _gain(residual, squared, token)
            if last_known > most or (last_known == most and token < picked):
                _refresh(
                    token,
                    known,
                    are_similarities,
                    residual,
                    factor,
                    num_rows,
                    scales,
                    order,
                    step,
                )
                gain = _gain(residual, squared, token)
                if gain > most or (gain == most and token < picked):
                    picked, most = token, gain
        if picked < 0:
            picked = int(np.argmax(squared))
        elif residual[picked] > SPENT:
            scales[step] = 1 / np.sqrt(residual[picked])
        order[step] = picked
        squared[picked] = -1


def conditional_dpp(features: torch.Tensor, relevance: torch.Tensor, keep: int) -> torch.Tensor:
    """See the reference of the same name."""
    batch, num_tokens, width = features.shape
    directions = normalize(features.detach().float(), dim=-1)
    residual = directions.any(-1).float().numpy()
    squared = relevance.detach().float().square().numpy()
    all_pairs = num_tokens * width > CACHED_NUMBERS
    order = np.empty((batch, keep), np.int64)
    for picture in range(batch):
        known = directions[picture] @ directions[picture].T if all_pairs else directions[picture]
        known = known.contiguous()
        _greedy(known.numpy(), all_pairs, squared[picture], residual[picture], order[picture])
    return torch.from_numpy(order)
