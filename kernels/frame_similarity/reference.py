"""Similarity of neighbouring frames in PyTorch."""

import torch
from torch.nn.functional import normalize


def frame_similarity(features: torch.Tensor) -> torch.Tensor:
    """Cosines [T-1, P] of `features` [T, P, C] in neighbouring frames, place by place."""
    directions = normalize(features.float(), dim=-1)
    return (directions[:-1] * directions[1:]).sum(-1)
