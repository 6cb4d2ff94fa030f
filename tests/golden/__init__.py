"""Reference vectors of published methods (README.md says whose)."""

from pathlib import Path

import numpy as np
import torch


def cases(file: str) -> dict[str, dict[str, torch.Tensor]]:
    """The arrays of each case by name."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    with np.load(Path(__file__).parent / f"{file}.npz") as arrays:
        for key in arrays.files:
            case, _, name = key.partition("/")
            found.setdefault(case, {})[name] = torch.from_numpy(np.asarray(arrays[key]))
    return found
