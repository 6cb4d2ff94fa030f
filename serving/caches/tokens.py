"""Visual tokens as bytes, and back."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saccade.encoders.base import Prepared, VisualTokens


class UnreadableError(Exception):
    """Bytes that are no visual tokens."""


def num_bytes(visual_tokens: "VisualTokens") -> int:
    """In memory."""
    positions = visual_tokens.positions
    return visual_tokens.embeddings.nbytes + (0 if positions is None else positions.nbytes)


def to_bytes(visual_tokens: "VisualTokens") -> bytes:
    """A safetensors file: `embeddings`, `positions` where there are any, and `extent` as [1]."""
    import torch
    from safetensors.torch import save

    tensors = {
        "embeddings": visual_tokens.embeddings.contiguous(),
        "extent": torch.tensor([visual_tokens.extent]),
    }
    if visual_tokens.positions is not None:
        tensors["positions"] = visual_tokens.positions.contiguous()
    return save(tensors)


def from_bytes(data: bytes) -> "VisualTokens":
    """Raises `UnreadableError`."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from saccade.encoders.base import VisualTokens

    try:
        tensors = load(data)
        return VisualTokens(
            tensors["embeddings"], tensors.get("positions"), int(tensors["extent"][0])
        )
    except (SafetensorError, KeyError, IndexError, RuntimeError, ValueError) as error:
        raise UnreadableError(str(error)) from error


def prepared_hash(prepared: "Prepared") -> str:
    """Of all that the vision tower will see of a picture or clip, and where it will stand.

    256 bits of BLAKE2b in hexadecimal; takes a second for a gigabyte, outside of Python's lock.
    """
    import torch

    digest = hashlib.blake2b(repr((prepared.kind, prepared.layout)).encode(), digest_size=32)
    for name, tensor in sorted(prepared.tensors.items()):
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
