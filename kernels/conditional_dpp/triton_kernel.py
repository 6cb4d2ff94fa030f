"""Greedy MAP inference of a conditional DPP in Triton: the whole loop in one launch.

A program has one picture. Its state (residuals, the factor's rows) is a few hundred kilobytes that
stay in the L2 cache; a step reads the chosen token's row of the similarities, or computes it from
the features where these are narrow, and leaves the next choice.
"""

import torch
import triton
import triton.language as tl
from torch.nn.functional import normalize

from saccade.kernels.conditional_dpp.reference import SPENT

DIRECT_WIDTH = 256
"""Up to this width a row of similarities is computed when needed: one program reads N·D numbers for
it. Wider features are multiplied once for all pairs, by all of the GPU, which costs N² numbers."""
BLOCK_TOKENS = 128
BLOCK_WIDTH = 64


@triton.jit
def _similarity_row(p_known, picked, o_n, N, W, BN: tl.constexpr, BW: tl.constexpr):
    """<direction of picked, direction of n> for n in `o_n`; [BN]."""
    b_row = tl.zeros((BN,), tl.float32)
    for begin in range(0, W, BW):
        o_w = begin + tl.arange(0, BW)
        b_picked = tl.load(p_known + picked * W + o_w, o_w < W, other=0.0)
        inside = (o_n < N)[:, None] & (o_w < W)[None, :]
        b_known = tl.load(p_known + o_n[:, None] * W + o_w[None, :], inside, other=0.0)  # [BN, BW]
        b_row += tl.sum(b_known * b_picked[None, :], 1)
    return b_row


@triton.jit
def _better(gain, index, squared, fallback, b_residual, b_squared, start, SPENT: tl.constexpr):
    """The best choices so far, by gain and by relevance alone, and those of one more block."""
    b_gain = tl.where(b_residual > SPENT, b_residual * b_squared, 0.0)
    top_gain, top_squared = tl.max(b_gain, 0), tl.max(b_squared, 0)
    index = tl.where(top_gain > gain, start + tl.argmax(b_gain, 0), index)
    fallback = tl.where(top_squared > squared, start + tl.argmax(b_squared, 0), fallback)
    return tl.maximum(top_gain, gain), index, tl.maximum(top_squared, squared), fallback


@triton.jit
def _greedy(
    p_known,  # [B, N, W]: directions, or similarities
    p_squared,  # [B, N]: r̃², or -1 where chosen; changed
    p_residual,  # [B, N]: ρ; changed
    p_factor,  # [B, K, N]: rows of the factor; written
    p_order,  # [B, K]; written
    N,
    W,
    K,
    SPENT: tl.constexpr,
    SIMILARITIES: tl.constexpr,
    BN: tl.constexpr,
    BW: tl.constexpr,
):
    picture = tl.program_id(0).to(tl.int64)
    p_known += picture * N * W
    p_squared += picture * N
    p_residual += picture * N
    p_factor += picture * K * N
    p_order += picture * K
    # What a step leaves for the next one; before the first, of no step at all.
    gain, squared = tl.full((), 0.0, tl.float32), tl.full((), -2.0, tl.float32)
    index, fallback = tl.full((), 0, tl.int32), tl.full((), 0, tl.int32)
    for start in range(0, N, BN):
        o_n = start + tl.arange(0, BN)
        b_squared = tl.load(p_squared + o_n, o_n < N, other=-2.0)
        b_residual = tl.load(p_residual + o_n, o_n < N, other=0.0)
        gain, index, squared, fallback = _better(
            gain, index, squared, fallback, b_residual, b_squared, start, SPENT
        )
    for step in range(K):
        picked = tl.where(gain > 0, index, fallback)
        tl.store(p_order + step, picked.to(tl.int64))
        own = tl.load(p_residual + picked)
        # What is spent has nothing to take from the others.
        scale = tl.where(own > SPENT, 1 / tl.sqrt(tl.maximum(own, SPENT)), 0.0)
        # All have read it before one of them writes it.
        tl.debug_barrier()
        gain, squared = gain * 0, squared * 0 - 2
        for start in range(0, N, BN):
            o_n = start + tl.arange(0, BN)
            inside = o_n < N
            if SIMILARITIES:
                b_row = tl.load(p_known + picked * W + o_n, inside, other=0.0)
            else:
                b_row = _similarity_row(p_known, picked, o_n, N, W, BN, BW)
            for earlier in range(step):
                b_factor = tl.load(p_factor + earlier * N + o_n, inside, other=0.0)
                b_row -= b_factor * tl.load(p_factor + earlier * N + picked)
            b_row *= scale
            tl.store(p_factor + step * N + o_n, b_row, inside)
            b_residual = tl.load(p_residual + o_n, inside, other=0.0) - b_row * b_row
            b_squared = tl.load(p_squared + o_n, inside, other=-2.0)
            b_squared = tl.where(o_n == picked, -1.0, b_squared)
            tl.store(p_residual + o_n, b_residual, inside)
            tl.store(p_squared + o_n, b_squared, inside)
            gain, index, squared, fallback = _better(
                gain, index, squared, fallback, b_residual, b_squared, start, SPENT
            )
        # The next step reads, at one token, what other threads wrote.
        tl.debug_barrier()


def conditional_dpp(features: torch.Tensor, relevance: torch.Tensor, keep: int) -> torch.Tensor:
    """See the reference of the same name."""
    batch, num_tokens, width = features.shape
    known = normalize(features.float(), dim=-1)
    residual = known.any(-1).float()
    wide = width > DIRECT_WIDTH
    known = (known @ known.transpose(1, 2) if wide else known).contiguous()
    squared = relevance.float().square().contiguous()
    factor = known.new_empty((batch, keep, num_tokens))
    order = torch.empty((batch, keep), dtype=torch.int64, device=features.device)
    _greedy[(batch,)](
        known,
        squared,
        residual,
        factor,
        order,
        num_tokens,
        known.shape[-1],
        keep,
        SPENT=SPENT,
        SIMILARITIES=wide,
        BN=BLOCK_TOKENS,
        BW=BLOCK_WIDTH,
    )
    return order
