"""Batches are made on the CPU, by other processes, and used where the model is."""

from dataclasses import fields, is_dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")


def on_device(batch: T, device: torch.device, *, copy: bool = False) -> T:
    """A dataclass of tensors, or of such dataclasses, moved."""
    if isinstance(batch, Tensor):
        return cast(T, batch.to(device, non_blocking=True, copy=copy))
    if is_dataclass(batch) and not isinstance(batch, type):
        moved = (on_device(getattr(batch, f.name), device, copy=copy) for f in fields(batch))
        return cast(T, type(batch)(*moved))
    return batch
