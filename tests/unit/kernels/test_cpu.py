"""What Numba compiles for CPUs chooses as the reference does."""

import pytest
import torch

from saccade.kernels.conditional_dpp import cpu_kernel, reference
from tests.unit.kernels.drawn import SELECTIONS, doubled, normal, relevance

SELECTIONS_HERE = SELECTIONS | {
    "low rank": (normal(2, 30, 4), 30),
    "zeros": (torch.zeros(1, 9, 4), 9),
    "few of many": (normal(3, 200, 60), 12),
    "beyond the cache": (normal(1, 130, 2100), 9),
    "doubles of low rank": (doubled(normal(1, 12, 5)), 20),
}


@pytest.mark.parametrize("name", SELECTIONS_HERE)
def test_it_chooses_as_the_reference(name: str) -> None:
    tokens, keep = SELECTIONS_HERE[name]
    weights = relevance(*tokens.shape[:2])
    before = tokens.clone(), weights.clone()

    found = cpu_kernel.conditional_dpp(tokens, weights, keep)

    assert torch.equal(found, reference.conditional_dpp(tokens, weights, keep))
    assert torch.equal(tokens, before[0])
    assert torch.equal(weights, before[1])


def test_constant_relevance_leaves_diversity() -> None:
    tokens, weights = normal(2, 40, 64), torch.ones(2, 40)

    found = cpu_kernel.conditional_dpp(tokens, weights, 9)

    assert torch.equal(found, reference.conditional_dpp(tokens, weights, 9))
    assert found[:, 0].tolist() == [0, 0]
