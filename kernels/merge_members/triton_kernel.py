"""Merging tokens into the one that represents them, in Triton: a gather that also averages."""

import torch
import triton
import triton.language as tl

BLOCK_WIDTH = 128


@triton.jit
def _merge(
    p_x,  # [B, N, C]
    p_centres,  # [B, K]
    p_owner,  # [B, N]
    p_out,  # [B, K, C]; written
    beta,
    N,
    C,
    K,
    BC: tl.constexpr,
):
    cluster = tl.program_id(0)
    o_c = tl.program_id(1) * BC + tl.arange(0, BC)
    picture = tl.program_id(2).to(tl.int64)
    p_x += picture * N * C
    inside = o_c < C
    centre = tl.load(p_centres + picture * K + cluster)
    b_centre = tl.load(p_x + centre * C + o_c, inside, other=0.0).to(tl.float32)
    total = tl.zeros((BC,), tl.float32)
    count = tl.full((), 0, tl.int32)
    for token in range(N):
        if (tl.load(p_owner + picture * N + token) == cluster) & (token != centre):
            total += tl.load(p_x + token * C + o_c, inside, other=0.0).to(tl.float32)
            count += 1
    mixed = beta * b_centre + (1 - beta) * total / tl.maximum(count, 1)
    b_out = tl.where(count > 0, mixed, b_centre)
    p_out += (picture * K + cluster) * C
    tl.store(p_out + o_c, b_out.to(p_out.dtype.element_ty), inside)


def merge_members(
    x: torch.Tensor, centres: torch.Tensor, owner: torch.Tensor, beta: float
) -> torch.Tensor:
    """See the reference of the same name."""
    batch, num_tokens, width = x.shape
    num_centres = centres.shape[1]
    out = torch.empty((batch, num_centres, width), dtype=x.dtype, device=x.device)
    _merge[(num_centres, triton.cdiv(width, BLOCK_WIDTH), batch)](
        x.contiguous(),
        centres.contiguous(),
        owner.contiguous(),
        out,
        beta,
        num_tokens,
        width,
        num_centres,
        BC=BLOCK_WIDTH,
    )
    return out
