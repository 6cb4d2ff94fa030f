"""The kernels' interface: Triton on NVIDIA GPUs, elsewhere what is fastest there.

Arguments and results are those of the references, which say what is computed.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from saccade.kernels.density_peaks.reference import pairwise_distance

__all__ = [
    "conditional_dpp",
    "density_peaks",
    "farthest_points",
    "frame_similarity",
    "merge_members",
    "pairwise_distance",
]

REGISTERS_TOKENS = 2048
"""The longest row of distances that a program of `density_peaks` can hold."""


def conditional_dpp(features: torch.Tensor, relevance: torch.Tensor, keep: int) -> torch.Tensor:
    """Indices [B, keep] in the order of choice; `features` [B, N, D], `relevance` [B, N]."""
    if features.device.type == "cpu":
        from saccade.kernels.conditional_dpp.cpu_kernel import conditional_dpp as on_cpu

        return on_cpu(features, relevance, keep)
    chosen: torch.Tensor = _run("conditional_dpp", features, relevance, keep)
    return chosen


def farthest_points(features: torch.Tensor, keep: int) -> torch.Tensor:
    """Indices [B, keep] in the order of choice; `features` [B, N, D]."""
    chosen: torch.Tensor = _run("farthest_points", features, keep)
    return chosen


def frame_similarity(features: torch.Tensor) -> torch.Tensor:
    """Cosines [T-1, P] of `features` [T, P, C] in neighbouring frames."""
    cosines: torch.Tensor = _run("frame_similarity", features)
    return cosines


def density_peaks(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Density and separation, [B, N] each; `x` [B, N, C]."""
    fits = x.shape[1] <= REGISTERS_TOKENS
    peaks: tuple[torch.Tensor, torch.Tensor] = _run("density_peaks", x, k, triton=fits)
    return peaks


def merge_members(
    x: torch.Tensor, centres: torch.Tensor, owner: torch.Tensor, beta: float
) -> torch.Tensor:
    """Merged tokens [B, c, C]; `x` [B, N, C], `centres` [B, c], `owner` [B, N]."""
    merged: torch.Tensor = _run("merge_members", x, centres, owner, beta)
    return merged


def _run(name: str, first: torch.Tensor, *rest: Any, triton: bool = True) -> Any:
    module = "triton_kernel" if triton and first.is_cuda else "reference"
    return getattr(import_module(f"saccade.kernels.{name}.{module}"), name)(first, *rest)
