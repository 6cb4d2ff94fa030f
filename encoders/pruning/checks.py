"""What the methods refuse, in words."""

import torch


def check_finite(**tensors: torch.Tensor) -> None:
    """Raises `ValueError` that names the tensor: NaN would silently decide what is kept."""
    for name, tensor in tensors.items():
        # A sum is finite only if all of it is: one pass, and the exact answer when it is not.
        if not (tensor.sum().isfinite() or torch.isfinite(tensor).all()):
            raise ValueError(f"{name} has NaN or infinity: the encoder's output is broken")


def check_shape(name: str, tensor: torch.Tensor, *dimensions: str) -> None:
    """Raises `ValueError` if `tensor` has another number of dimensions."""
    if tensor.ndim != len(dimensions):
        expected = ", ".join(dimensions)
        raise ValueError(f"{name} must be [{expected}], its shape is {list(tensor.shape)}")


def check_keep(keep: int, num_tokens: int) -> None:
    """Raises `ValueError` unless 1 <= keep <= num_tokens."""
    if not 1 <= keep <= num_tokens:
        raise ValueError(f"keep must be from 1 to the number of tokens, {num_tokens}; it is {keep}")
