"""Hashes of the KV blocks of a prompt, by vLLM's own functions.

An engine names its blocks so, in its prefix cache and in its KV events; who asks which engine holds
a prompt has to compute the same names.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
from vllm.utils.hashing import get_hash_fn_by_name
from vllm.v1.core.kv_cache_utils import (
    generate_block_hash_extra_keys,
    hash_block_tokens,
    init_none_hash,
    resolve_none_hash_seed,
)

from saccade.serving.caches.block_events import short_hash
from saccade.serving.transport.instance_pb2 import Prompt

# vLLM's default hashes a pickle, whose bytes depend on the version of Python, and on whether two
# equal strings are one object; CBOR in its canonical form has one encoding for one content.
HASH_ALGORITHM: Final = "sha256_cbor"
_hash = get_hash_fn_by_name(HASH_ALGORITHM)


def hash_seed() -> str:
    """What the first block of every prompt is chained to; from the environment (PYTHONHASHSEED)."""
    seed: str = resolve_none_hash_seed(_hash)
    return seed


@dataclass(slots=True)
class _Hashed:
    """What vLLM's functions look at of a request."""

    mm_features: list[MultiModalFeatureSpec]
    cache_salt: str
    lora_request: None = None
    prompt_embeds: None = None


class BlockHasher:
    """Hashes prompts as engines with blocks of `block_size` tokens do."""

    def __init__(self, block_size: int) -> None:
        init_none_hash(_hash)
        self.block_size = block_size

    def __call__(self, prompt: Prompt) -> Iterator[int]:
        """Of one whole block after the other, computed when it is asked for.

        The last token of a prompt is always computed, so a block that ends with it never helps.
        """
        request: Any = _Hashed([_feature(span) for span in _in_order(prompt)], prompt.cache_salt)
        tokens, size = prompt.token_ids, self.block_size
        parent = None
        visual_index = 0
        for start in range(0, len(tokens) - size, size):
            extra, visual_index = generate_block_hash_extra_keys(
                request, start, start + size, visual_index
            )
            parent = hash_block_tokens(_hash, parent, tokens[start : start + size], extra)
            yield short_hash(parent)


def _in_order(prompt: Prompt) -> list[Any]:
    return sorted(prompt.visual_spans, key=lambda span: span.offset)


def _feature(span: Any) -> MultiModalFeatureSpec:
    place = PlaceholderRange(offset=span.offset, length=span.num_tokens)
    return MultiModalFeatureSpec(
        data=None, modality="image", identifier=span.key, mm_position=place
    )
