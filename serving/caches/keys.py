"""Identity of cached things; the only place that builds such keys."""

import hashlib


def visual_key(*, tenant: str, model: str, content_hash: str, num_visual_tokens: int) -> str:
    """Of a picture's visual tokens; enters vLLM's KV block hashes.

    One key never stands for two token counts, which would fail the request, nor for two tenants,
    who would see from timing what the other has sent.
    """
    return _digest("visual", tenant, model, content_hash, str(num_visual_tokens))


def cache_salt(tenant: str) -> str:
    """Separates the prefix caches of tenants."""
    return _digest("salt", tenant)


def _digest(*parts: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
