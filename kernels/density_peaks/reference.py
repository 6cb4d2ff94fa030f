"""Density peaks by nearest neighbours in PyTorch."""

import torch


def density_peaks(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Density and separation, [B, N] each, of the tokens `x` [B, N, C].

    With distances ‖x_i - x_j‖ / √C: density is exp(-mean of the k smallest squared distances),
    its own zero among them; separation is the distance to the nearest token that is denser, for the
    densest the largest distance in its picture. Of equally dense tokens an earlier one counts as
    denser, so that of two equal tokens only one is a peak.
    """
    distance = pairwise_distance(x, x)
    density = (-distance.topk(k, dim=-1, largest=False).values.square().mean(-1)).exp()
    index = torch.arange(x.shape[1], device=x.device)
    mine, other = density[:, :, None], density[:, None, :]
    denser = (other > mine) | ((other == mine) & (index[None, :] < index[:, None]))
    nearest = distance.masked_fill(~denser, torch.inf).amin(-1)
    return density, torch.where(nearest.isinf(), distance.amax((1, 2))[:, None], nearest)


def pairwise_distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """[B, N, M]: ‖x_i - y_j‖ / √C, from differences: equal tokens have distance zero."""
    exact = "donot_use_mm_for_euclid_dist"
    distance: torch.Tensor = torch.cdist(x.float(), y.float(), compute_mode=exact)
    scale: float = x.shape[-1] ** 0.5
    return distance / scale
