"""Encoded pictures and clips for stages."""

import torch

from saccade.encoders.base import VisualTokens
from saccade.encoders.pruning.stage import Query, Shape, Visual

WIDTH = 12


def visual(
    part_tokens: int = 20,
    num_parts: int = 1,
    num_trailing: int = 0,
    *,
    seed: int = 0,
    positions: torch.Tensor | None = None,
) -> Visual:
    """Random tokens with all that a tower may say of them."""
    shape = Shape(part_tokens, num_parts, num_trailing)
    generator = torch.Generator().manual_seed(seed)
    return Visual(
        VisualTokens(
            torch.randn((shape.num_tokens, WIDTH), generator=generator),
            positions,
            extent=shape.num_tokens,
        ),
        shape,
        attention=torch.rand(shape.num_patches, generator=generator),
        image_embeds=torch.randn((shape.num_patches, 6), generator=generator),
    )


def grid(times: int, rows: int, columns: int) -> torch.Tensor:
    """Positions [n, 3] of a clip."""
    return torch.cartesian_prod(torch.arange(times), torch.arange(rows), torch.arange(columns))


CONTRASTIVE = Query(torch.randn((1, 6), generator=torch.Generator().manual_seed(9)), "contrastive")
LANGUAGE = Query(torch.randn((1, WIDTH), generator=torch.Generator().manual_seed(8)), "language")
