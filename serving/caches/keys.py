"""Identity of cached things; the only place that builds such keys.

A tenant's name enters each of them, so tenants share nothing, and cannot see from timing what
another has sent. What a client calls its picture enters none.
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PictureId:
    """A picture or clip as an encode instance is told of it: whose it is, and its bytes' hash."""

    owner: str
    """`cache_salt` of the tenant."""
    content_hash: str
    """Of the bytes as they came, and of which frames are taken."""


def visual_key(
    *, tenant: str, model: str, content_hash: str, num_visual_tokens: int, pruning: str = ""
) -> str:
    """Of a picture's visual tokens as the LLM gets them; enters vLLM's KV block hashes.

    One key never stands for two token counts, which would fail the request, nor for two tenants,
    who would see from timing what the other has sent. `pruning` says how the tokens were chosen:
    the pipeline's key, which has the question in it where that is looked at.
    """
    return _digest("visual", tenant, model, content_hash, str(num_visual_tokens), pruning)


def cache_salt(tenant: str) -> str:
    """Separates the caches of tenants."""
    return _digest("salt", tenant)


def bytes_key(picture: PictureId, revision: str) -> str:
    """Of what an encoder makes of a picture, unpruned, by the bytes that were sent.

    `revision` is the encoder's (`encoders.revision`): weights, preprocessing and number format.
    """
    return _digest("bytes", picture.owner, revision, picture.content_hash)


def pixels_key(owner: str, revision: str, prepared_hash: str) -> str:
    """The same by what the vision tower is given: one for all files of the same pixels."""
    return _digest("pixels", owner, revision, prepared_hash)


def _digest(*parts: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
