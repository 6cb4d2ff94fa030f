"""Decoupled, but static: the baselines of ElasticMM's Fig. 7.

Two modality groups with stages on instances of their own; no instance ever changes its role. The
paper names text-first, equal and multimodal-first; on eight instances they are 5+3, 4+4 and 2+6.
The stages within a group follow the work that a mean request has in each.
"""

from typing import ClassVar

from saccade.scheduler.simulator.costs import EngineTraits
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.policies.base import MULTIMODAL, TEXT, Policy
from saccade.scheduler.simulator.policies.layouts import Layout, Share, layout_of, of

# 0.6 million tokens: 4 GB of memory for 7 KB each.
VISUAL_CACHE_TOKENS = 600_000
DISAGGREGATED = EngineTraits(
    visual_cache_tokens=VISUAL_CACHE_TOKENS, prefix_cache=True, chunked_prefill=True
)


class StaticSplit(Policy):
    """Groups and stages fixed at the start."""

    traits = DISAGGREGATED
    shares: ClassVar[tuple[Share, ...]]

    def layout(self, num_instances: int) -> Layout:
        return layout_of(num_instances, self.shares)

    def group_of(self, job: Job) -> str:
        return MULTIMODAL if job.modality == "image" else TEXT


class TextFirst(StaticSplit):
    name = "static-text-first"
    title = "static split, 5/8 for text"
    shares = (
        (TEXT, of("prefill"), 2), (TEXT, of("decode"), 3),
        (MULTIMODAL, of("encode"), 1), (MULTIMODAL, of("prefill"), 1),
        (MULTIMODAL, of("decode"), 1),
    )  # fmt: skip


class EqualSplit(StaticSplit):
    name = "static-equal"
    title = "static split, 4/8 for text"
    shares = (
        (TEXT, of("prefill"), 2), (TEXT, of("decode"), 2),
        (MULTIMODAL, of("encode"), 1), (MULTIMODAL, of("prefill"), 2),
        (MULTIMODAL, of("decode"), 1),
    )  # fmt: skip


class MultimodalFirst(StaticSplit):
    name = "static-multimodal-first"
    title = "static split, 2/8 for text"
    shares = (
        (TEXT, of("prefill"), 1), (TEXT, of("decode"), 1),
        (MULTIMODAL, of("encode"), 2), (MULTIMODAL, of("prefill"), 3),
        (MULTIMODAL, of("decode"), 1),
    )  # fmt: skip
