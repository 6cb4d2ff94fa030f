"""Density peaks in Triton: distances are computed twice, and never stand in memory."""

import torch
import triton
import triton.language as tl

BLOCK_WIDTH = 32


@triton.jit
def _distances(p_x, token, o_n, N, C, BN: tl.constexpr, BC: tl.constexpr):
    """‖x_token - x_n‖² / C for n in `o_n`, infinite beyond N; [BN]."""
    total = tl.zeros((BN,), tl.float32)
    for begin in range(0, C, BC):
        o_c = begin + tl.arange(0, BC)
        b_own = tl.load(p_x + token * C + o_c, o_c < C, other=0.0).to(tl.float32)
        inside = (o_n < N)[:, None] & (o_c < C)[None, :]
        b_other = tl.load(p_x + o_n[:, None] * C + o_c[None, :], inside, other=0.0)
        difference = b_other.to(tl.float32) - b_own[None, :]
        total += tl.sum(difference * difference, 1)
    return tl.where(o_n < N, total / C, float("inf"))


@triton.jit
def _density(
    p_x,  # [B, N, C]
    p_density,  # [B, N]; written
    p_farthest,  # [B, N]: squared distance to the farthest token; written
    N,
    C,
    neighbours,
    BN: tl.constexpr,
    BC: tl.constexpr,
):
    token = tl.program_id(0)
    picture = tl.program_id(1).to(tl.int64)
    o_n = tl.arange(0, BN)
    squared = _distances(p_x + picture * N * C, token, o_n, N, C, BN, BC)
    farthest = tl.max(tl.where(o_n < N, squared, 0.0), 0)
    tl.store(p_farthest + picture * N + token, farthest)
    total = tl.full((), 0.0, tl.float32)
    for _ in range(neighbours):
        nearest = tl.argmin(squared, 0)
        total += tl.min(squared, 0)
        squared = tl.where(o_n == nearest, float("inf"), squared)
    tl.store(p_density + picture * N + token, tl.exp(-total / neighbours))


@triton.jit
def _separation(
    p_x,  # [B, N, C]
    p_density,  # [B, N]
    p_farthest,  # [B, N]
    p_separation,  # [B, N]; written
    N,
    C,
    BN: tl.constexpr,
    BC: tl.constexpr,
):
    token = tl.program_id(0)
    picture = tl.program_id(1).to(tl.int64)
    o_n = tl.arange(0, BN)
    squared = _distances(p_x + picture * N * C, token, o_n, N, C, BN, BC)
    b_density = tl.load(p_density + picture * N + o_n, o_n < N, other=-1.0)
    own = tl.load(p_density + picture * N + token)
    denser = (b_density > own) | ((b_density == own) & (o_n < token))
    nearest = tl.min(tl.where(denser, squared, float("inf")), 0)
    farthest = tl.max(tl.load(p_farthest + picture * N + o_n, o_n < N, other=0.0), 0)
    found = tl.where(nearest == float("inf"), farthest, nearest)
    tl.store(p_separation + picture * N + token, tl.sqrt(found))


def density_peaks(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """See the reference of the same name. A row of distances stays in registers."""
    batch, num_tokens, width = x.shape
    x = x.contiguous()
    density, farthest, separation = (
        torch.empty((batch, num_tokens), dtype=torch.float32, device=x.device) for _ in range(3)
    )
    grid, block = (num_tokens, batch), triton.next_power_of_2(num_tokens)
    _density[grid](x, density, farthest, num_tokens, width, k, BN=block, BC=BLOCK_WIDTH)
    _separation[grid](x, density, farthest, separation, num_tokens, width, BN=block, BC=BLOCK_WIDTH)
    return density, separation
