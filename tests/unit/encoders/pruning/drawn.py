"""Tensors that Hypothesis draws: a seed and a shape, with the degenerate ones among them."""

import torch
from hypothesis import strategies as st


@st.composite
def tokens(
    draw: st.DrawFn, max_batch: int = 3, max_tokens: int = 14, max_width: int = 12
) -> torch.Tensor:
    """[B, N, D] of normal numbers; some with doubled tokens, some of low rank."""
    batch = draw(st.integers(1, max_batch))
    num_tokens = draw(st.integers(1, max_tokens))
    width = draw(st.integers(1, max_width))
    made = torch.randn((batch, num_tokens, width), generator=generator(draw))
    kind = draw(st.sampled_from(["plain", "plain", "doubled", "low rank"]))
    if kind == "doubled":
        made[:, num_tokens // 2 :] = made[:, : num_tokens - num_tokens // 2].clone()
    if kind == "low rank":
        basis = torch.randn((batch, 2, width), generator=generator(draw))
        made = torch.randn((batch, num_tokens, 2), generator=generator(draw)) @ basis
    return made


@st.composite
def independent_tokens(draw: st.DrawFn, max_tokens: int = 9) -> torch.Tensor:
    """[1, N, D] with D well above N: every set of tokens has a determinant."""
    num_tokens = draw(st.integers(1, max_tokens))
    return torch.randn((1, num_tokens, num_tokens + 8), generator=generator(draw))


@st.composite
def relevance_of(draw: st.DrawFn, of: torch.Tensor) -> torch.Tensor:
    """[B, N] in (0, 1], now and then constant."""
    if draw(st.integers(0, 4)) == 0:
        return torch.ones(of.shape[:2])
    return torch.rand(of.shape[:2], generator=generator(draw)) + 1e-3


@st.composite
def clips(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [T, P, C] of which some places stand still, and attention [T, P]."""
    num_frames, places = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    noise = torch.randn((num_frames, places, 6), generator=generator(draw))
    still = torch.randn((1, places, 6), generator=generator(draw))
    moves = torch.rand((num_frames, places, 1), generator=generator(draw))
    threshold = draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))
    features = still + noise * torch.where(moves < threshold, 1.0, 0.1)
    return features, torch.rand((num_frames, places), generator=generator(draw))


def generator(draw: st.DrawFn) -> torch.Generator:
    return torch.Generator().manual_seed(draw(st.integers(0, 2**31)))


def keep_of(data: st.DataObject, num_tokens: int) -> int:
    """The ends more often than chance would."""
    return data.draw(st.sampled_from([1, num_tokens]) | st.integers(1, num_tokens))
