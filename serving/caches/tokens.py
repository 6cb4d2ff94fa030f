"""What an encoder made as bytes, and back."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saccade.encoders.base import Prepared, VisualFeatures, VisualTokens


class UnreadableError(Exception):
    """Bytes that are no visual features."""


def num_bytes(features: "VisualFeatures") -> int:
    """In memory."""
    seen = (features.attention, features.image_embeds)
    return num_token_bytes(features.tokens) + sum(one.nbytes for one in seen if one is not None)


def num_token_bytes(tokens: "VisualTokens") -> int:
    """In memory."""
    return tokens.embeddings.nbytes + (0 if tokens.positions is None else tokens.positions.nbytes)


def to_bytes(features: "VisualFeatures") -> bytes:
    """A safetensors file: `embeddings`, `extent` as [1], and of `positions`, `steps_apart` as [1],
    `attention` and `image_embeds` those that there are."""
    import torch
    from safetensors.torch import save

    tokens = features.tokens
    tensors = {"embeddings": tokens.embeddings, "extent": torch.tensor([tokens.extent])}
    others = {
        "positions": tokens.positions,
        "steps_apart": torch.tensor([tokens.steps_apart]) if tokens.steps_apart else None,
        "attention": features.attention,
        "image_embeds": features.image_embeds,
    }
    tensors |= {name: tensor for name, tensor in others.items() if tensor is not None}
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def from_bytes(data: bytes) -> "VisualFeatures":
    """Raises `UnreadableError`."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from saccade.encoders.base import VisualFeatures, VisualTokens

    try:
        tensors = load(data)
        extent = int(tensors["extent"][0])
        steps_apart = int(tensors["steps_apart"][0]) if "steps_apart" in tensors else 0
        return VisualFeatures(
            VisualTokens(tensors["embeddings"], tensors.get("positions"), extent, steps_apart),
            tensors.get("attention"),
            tensors.get("image_embeds"),
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
