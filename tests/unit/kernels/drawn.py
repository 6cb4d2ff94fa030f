"""Tokens to choose from: small, and of odd numbers."""

import torch


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relevance(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) + 0.01


def doubled(tokens: torch.Tensor) -> torch.Tensor:
    return torch.cat([tokens, tokens], 1)


SELECTIONS = {
    "odd sizes": (normal(2, 37, 48), 9),
    "one token": (normal(1, 1, 5), 1),
    "keep one": (normal(2, 20, 33), 1),
    "keep all": (normal(1, 21, 40), 21),
    "several blocks": (normal(1, 150, 70), 7),
    "doubles": (doubled(normal(1, 9, 30)), 18),
    "wide": (normal(2, 12, 300), 5),
    "half precision": (normal(1, 24, 32).bfloat16(), 8),
}
