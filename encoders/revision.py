"""What an encoder's outputs depend on beside the picture, in one short name."""

import hashlib
import json
from pathlib import Path

import torch
import transformers

from saccade.encoders.base import Family
from saccade.encoders.weights import read_tensors, vision_prefixes


def encoder_revision(checkpoint: Path, family: Family, dtype: str) -> str:
    """128 bits in hexadecimal, equal when weights, settings, number format and libraries are.

    Of the weights themselves, not of names or dates: about a second for a gigabyte. Raises
    `UnsupportedCheckpointError` if they cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    files = family.files
    settings = [dict(files.config), dict(files.image_processor), dict(files.video_processor)]
    versions = [transformers.__version__, torch.__version__]
    digest.update(json.dumps([settings, family.name, dtype, versions], sort_keys=True).encode())
    _, prefixes = vision_prefixes(checkpoint, family.weights)
    for name, tensor in sorted(read_tensors(checkpoint, prefixes).items()):
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
