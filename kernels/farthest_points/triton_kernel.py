"""Farthest-point selection in Triton: one launch for the whole loop, one program for a picture."""

import torch
import triton
import triton.language as tl
from torch.nn.functional import normalize

from saccade.kernels.farthest_points.reference import first_point

BLOCK_TOKENS = 256


@triton.jit
def _farthest(
    p_similarity,  # [B, N, N]
    p_nearest,  # [B, N]: cos to the nearest chosen token, +inf where chosen; changed
    p_order,  # [B, K]; the first of each row is given, the others are written
    N,
    K,
    BN: tl.constexpr,
):
    picture = tl.program_id(0).to(tl.int64)
    p_similarity += picture * N * N
    p_nearest += picture * N
    p_order += picture * K
    tokens = tl.arange(0, BN)
    picked = tl.load(p_order).to(tl.int32)
    for step in range(1, K):
        least = tl.full((), float("inf"), tl.float32)
        following = picked
        for start in range(0, N, BN):
            o_n = start + tokens
            inside = o_n < N
            b_row = tl.load(p_similarity + picked * N + o_n, inside, other=float("inf"))
            b_nearest = tl.load(p_nearest + o_n, inside, other=float("inf"))
            b_nearest = tl.maximum(b_nearest, b_row)
            b_nearest = tl.where(o_n == picked, float("inf"), b_nearest)
            tl.store(p_nearest + o_n, b_nearest, inside)
            lowest = tl.min(b_nearest, 0)
            if lowest < least:
                least, following = lowest, start + tl.argmin(b_nearest, 0)
        picked = following
        tl.store(p_order + step, picked.to(tl.int64))


def farthest_points(features: torch.Tensor, keep: int) -> torch.Tensor:
    """See the reference of the same name. All pairs are needed for the first choice."""
    batch, num_tokens, _ = features.shape
    directions = normalize(features.float(), dim=-1)
    similarity = (directions @ directions.transpose(1, 2)).contiguous()
    nearest = torch.full_like(similarity[:, 0], -torch.inf).contiguous()
    order = torch.empty((batch, keep), dtype=torch.int64, device=features.device)
    order[:, 0] = first_point(similarity)
    _farthest[(batch,)](similarity, nearest, order, num_tokens, keep, BN=BLOCK_TOKENS)
    return order
