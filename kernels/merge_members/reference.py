"""Merging tokens into the one that represents them, in PyTorch."""

import torch


def merge_members(
    x: torch.Tensor, centres: torch.Tensor, owner: torch.Tensor, beta: float
) -> torch.Tensor:
    """[B, c, C]: each centre mixed with its members, of the tokens `x` [B, N, C].

    `centres` [B, c] are indices of tokens; `owner` [B, N] says which centre (0 to c-1) a token
    belongs to, a centre to itself, or -1 for none. The result is β · centre + (1-β) · mean of the
    other members; a centre without any stays as it is. β = 1 is a plain gather.
    """
    batch, num_tokens, width = x.shape
    num_centres = centres.shape[1]
    values = x.float()
    centre = values.gather(1, centres[:, :, None].expand(-1, -1, width))
    is_member = owner >= 0
    is_member.scatter_(1, centres, False)
    weight = torch.zeros((batch, num_centres, num_tokens), dtype=torch.float32, device=x.device)
    weight.scatter_(1, owner.clamp_min(0)[:, None, :], is_member.float()[:, None, :])
    count = weight.sum(-1, keepdim=True)
    mixed = beta * centre + (1 - beta) * (weight @ values) / count.clamp_min(1)
    return torch.where(count > 0, mixed, centre).to(x.dtype)
