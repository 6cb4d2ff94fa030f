"""Similarity of neighbouring frames in Triton: features are read twice and written never."""

import torch
import triton
import triton.language as tl

BLOCK_PLACES = 16
BLOCK_WIDTH = 128


@triton.jit
def _similarity(
    p_features,  # [T, P, C]
    p_out,  # [T-1, P]; written
    P,
    C,
    BP: tl.constexpr,
    BC: tl.constexpr,
):
    frame = tl.program_id(0).to(tl.int64)
    o_p = tl.program_id(1) * BP + tl.arange(0, BP)
    dot = tl.zeros((BP,), tl.float32)
    square = tl.zeros((BP,), tl.float32)
    square_next = tl.zeros((BP,), tl.float32)
    for begin in range(0, C, BC):
        o_c = begin + tl.arange(0, BC)
        offset = o_p[:, None] * C + o_c[None, :]
        inside = (o_p < P)[:, None] & (o_c < C)[None, :]
        b_now = tl.load(p_features + frame * P * C + offset, inside, other=0.0).to(tl.float32)
        b_next = tl.load(p_features + (frame + 1) * P * C + offset, inside, other=0.0)
        b_next = b_next.to(tl.float32)
        dot += tl.sum(b_now * b_next, 1)
        square += tl.sum(b_now * b_now, 1)
        square_next += tl.sum(b_next * b_next, 1)
    # As torch's normalize: a length below 1e-12 counts as that.
    lengths = tl.maximum(tl.sqrt(square), 1e-12) * tl.maximum(tl.sqrt(square_next), 1e-12)
    tl.store(p_out + frame * P + o_p, dot / lengths, o_p < P)


def frame_similarity(features: torch.Tensor) -> torch.Tensor:
    """See the reference of the same name."""
    num_frames, places, width = features.shape
    out = torch.empty((num_frames - 1, places), dtype=torch.float32, device=features.device)
    if num_frames > 1:
        grid = (num_frames - 1, triton.cdiv(places, BLOCK_PLACES))
        _similarity[grid](
            features.contiguous(), out, places, width, BP=BLOCK_PLACES, BC=BLOCK_WIDTH
        )
    return out
