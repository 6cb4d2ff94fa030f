"""How long things take: the scheduler's cost model, engine overheads and noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from saccade.scheduler.simulator.workloads.base import PIXELS_PER_TOKEN, TraceRequest

_NOISE_CHUNK = 4096


class CostModel(Protocol):
    """The part of `saccade.scheduler.cost_model.CostModel` that the mechanics use."""

    @property
    def tipping_point_tokens(self) -> int: ...
    @property
    def flip_s(self) -> float: ...
    def kv_capacity_tokens(self) -> int: ...
    def preprocess_s(self, pixels: int) -> float: ...
    def encode_s(self, tokens: int) -> float: ...
    def prefill_batch_s(self, sequences: Sequence[tuple[int, int]]) -> float: ...
    def decode_step_s(self, num_sequences: int, context_tokens: int) -> float: ...
    def decode_slope_s(self, num_sequences: int, context_tokens: int) -> float: ...
    def visual_transfer_s(self, tokens: int) -> float: ...
    def kv_transfer_s(self, tokens: int) -> float: ...
    def migration_s(self, kv_tokens: int) -> float: ...


@dataclass(frozen=True)
class EngineTraits:
    """What kind of engine runs on the instances; a policy brings its own."""

    inline_encode: bool = False
    """The vision tower runs in the step of the prefill, on the same GPU."""
    blocking_preprocess: bool = False
    """Pictures are decoded and resized in the engine's loop, while its GPU waits."""
    preprocess_cores: int = 8
    """CPU cores for each instance; one pool for all unless the encoder is inline."""
    chunked_prefill: bool = False
    """Prefill in chunks beside the decode batch; else a prefill step halts decoding."""
    prefill_budget_tokens: int | None = None
    """Tokens of one prefill step; None: the tipping point of the cost model."""
    visual_cache_tokens: int = 0
    """Visual tokens that an instance keeps (inline), or brings to the shared pool."""
    prefix_cache: bool = False
    more_step_overhead_s: float = 0.0
    """Time of the engine's own code in each step, beyond what the cost model has."""
    max_sequences: int = 256


class Costs:
    """Durations in seconds. Prefill, encode and preprocess steps carry lognormal noise of mean 1.

    Decode steps carry none: hundreds of them make up a duration, and noise averages out.
    """

    def __init__(
        self,
        model: CostModel,
        traits: EngineTraits,
        *,
        noise_sigma: float = 0.0,
        seed: int = 0,
        cross_attention: bool = False,
    ) -> None:
        self.model = model
        self.traits = traits
        self.budget_tokens = traits.prefill_budget_tokens or model.tipping_point_tokens
        self.cross_attention = cross_attention
        self._sigma = noise_sigma
        self._rng = np.random.default_rng([seed, 0x5ACCADE])
        self._noise: list[float] = []
        # The weights are read once in a step that decodes and prefills.
        decode_constant = model.decode_step_s(1, 0) - model.decode_slope_s(1, 0)
        self._more_constant_s = max(0.0, decode_constant - model.prefill_batch_s([(0, 0)]))
        self.decode_context_s = (
            model.decode_slope_s(1, 1_000_000) - model.decode_slope_s(1, 0)
        ) / 1e6
        """Seconds that one more token of context costs each step."""

    def prompt_tokens(self, request: TraceRequest) -> int:
        """Length of the sequence that prefill computes."""
        return request.text_tokens if self.cross_attention else request.input_tokens

    def preprocess_s(self, visual_tokens: int) -> float:
        return self.model.preprocess_s(visual_tokens * PIXELS_PER_TOKEN) * self._factor()

    def encode_step_s(self, visual_tokens: int) -> float:
        return (
            self.model.encode_s(visual_tokens) * self._factor() + self.traits.more_step_overhead_s
        )

    def prefill_step_s(
        self,
        sequences: Sequence[tuple[int, int]],
        inline_images: Sequence[int] = (),
        decoding: tuple[int, int] = (0, 0),
    ) -> tuple[float, float]:
        """(whole step, the encoder's part of it).

        Args:
            sequences: (context after the step, context before it) of each sequence.
            inline_images: visual tokens of each picture that is encoded in the step.
            decoding: sequences that decode one token each in the step, and their context.
        """
        encode_s = 0.0
        if inline_images:
            encode_s = sum(map(self.model.encode_s, inline_images))
            if self.traits.blocking_preprocess:
                encode_s += sum(
                    self.model.preprocess_s(tokens * PIXELS_PER_TOKEN) for tokens in inline_images
                )
        step_s = self.model.prefill_batch_s(sequences)
        if decoding[0]:
            step_s += self.model.decode_slope_s(*decoding) + self._more_constant_s
        factor = self._factor()
        return (step_s + encode_s) * factor + self.traits.more_step_overhead_s, encode_s * factor

    def decode_step_s(self, num_sequences: int, context_tokens: int) -> float:
        overhead_s = self.traits.more_step_overhead_s
        return self.model.decode_step_s(num_sequences, context_tokens) + overhead_s

    def _factor(self) -> float:
        if self._sigma == 0:
            return 1.0
        if not self._noise:
            draws = self._rng.standard_normal(_NOISE_CHUNK)
            self._noise = np.exp(self._sigma * draws - self._sigma**2 / 2).tolist()
        return self._noise.pop()


def steps_within(first_s: float, growth_s: float, span_s: float) -> int:
    """Whole decode steps in `span_s` when step k takes first_s + k growth_s, k = 0, 1, ….

    Their sum n first_s + n (n - 1) growth_s / 2 is solved for n, without a loop.
    """
    if span_s <= 0:
        return 0
    linear = first_s - growth_s / 2
    root = math.sqrt(linear * linear + 2 * growth_s * span_s)
    return int(2 * span_s / (linear + root) + 1e-9)


def steps_s(first_s: float, growth_s: float, num_steps: int) -> float:
    """Time of `num_steps` decode steps; the inverse of `steps_within`."""
    return num_steps * first_s + num_steps * (num_steps - 1) * growth_s / 2
