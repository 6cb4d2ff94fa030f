"""Section `prefix_index`: what the gateway knows of the LLM instances' prefix caches."""

from typing import Literal

from pydantic import Field

from saccade.serving.config.section import Section


class PrefixIndexConfig(Section):
    """Which instance holds how long a beginning of a prompt; docs/caching.md says how."""

    enabled: bool = Field(
        default=True,
        description="Off: LLM instances publish nothing of their KV blocks, and requests are "
        "placed by load alone.",
    )
    placement: Literal["cache_aware", "least_loaded", "round_robin"] = Field(
        default="cache_aware",
        description="Where prompts are prefilled: `cache_aware` weighs what is cached against the "
        "queue; the others are there to compare with.",
    )
    ahead_tokens: int = Field(
        default=256,
        ge=0,
        description="Text before the first picture is prefilled while pictures are encoded, if so "
        "many tokens of it are cached nowhere; 0 switches it off.",
    )
    max_blocks: int = Field(
        default=2**19,
        ge=1,
        description="KV blocks of all instances that the gateway remembers, about 100 bytes each.",
    )
    replay_batches: int = Field(
        default=10_000,
        ge=1,
        description="Batches of events, one for each step that changes anything, that an instance "
        "keeps to send them again.",
    )
    reconcile_s: float = Field(
        default=5.0,
        gt=0,
        description="An instance that has been silent for so long is asked whether anything was "
        "missed.",
    )
