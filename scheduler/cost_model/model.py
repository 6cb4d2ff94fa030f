"""Seconds and tokens of each stage of a request on one instance."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from saccade.scheduler.cluster import Role, Traffic
from saccade.scheduler.cost_model import profiles
from saccade.scheduler.cost_model.profiles import GPUS, MODELS, GpuProfile, ModelProfile
from saccade.scheduler.requests import RequestShape


class StageSeconds(NamedTuple):
    """Seconds of one instance, by stage."""

    encode: float
    prefill: float
    decode: float

    @property
    def total(self) -> float:
        return self.encode + self.prefill + self.decode


@dataclass(frozen=True, slots=True)
class CostModel:
    """Fitted constants of one kind of GPU and one model; calibration makes a new one."""

    gpu: GpuProfile
    model: ModelProfile
    full_step_ratio: float = profiles.FULL_STEP_RATIO
    """Of the steps of a full decode instance to empty ones; what decode is priced by. About 1.5 is
    the price at a batch of 64."""

    # Stages ------------------------------------------------------------------------------------

    def preprocess_s(self, pixels: int) -> float:
        """One picture on one CPU core."""
        return profiles.PREPROCESS_CONSTANT_S + profiles.PREPROCESS_S_PER_PIXEL * pixels

    def encode_s(self, tokens: int, tensor_parallel_size: int = 1) -> float:
        """One picture of so many visual tokens."""
        c = self.gpu.encode
        time_s = c.constant_s + c.a_s * tokens + c.b_s * tokens * tokens
        return time_s * self.model.encode_ratio / speedup("encode", tensor_parallel_size)

    def prefill_s(
        self, tokens: int, cached_tokens: int = 0, tensor_parallel_size: int = 1
    ) -> float:
        """One sequence in a step of its own, `cached_tokens` of it already in the KV cache."""
        step_s = self.gpu.prefill.constant_s * self.model.compute_ratio + self.gpu.step_overhead_s
        return step_s / speedup("prefill", tensor_parallel_size) + self.prefill_marginal_s(
            tokens, cached_tokens, tensor_parallel_size
        )

    def prefill_marginal_s(
        self, tokens: int, cached_tokens: int = 0, tensor_parallel_size: int = 1
    ) -> float:
        """What a sequence adds to a step: linear in the new tokens, quadratic in t² - c²."""
        c = self.gpu.prefill
        time_s = c.a_s * (tokens - cached_tokens)
        time_s += c.b_s * (tokens * tokens - cached_tokens * cached_tokens)
        return time_s * self.model.compute_ratio / speedup("prefill", tensor_parallel_size)

    def prefill_batch_s(
        self, sequences: Iterable[tuple[int, int]], tensor_parallel_size: int = 1
    ) -> float:
        """One step over (tokens, cached tokens) pairs: the constant is paid once."""
        marginal_s = sum(self.prefill_marginal_s(t, c, tensor_parallel_size) for t, c in sequences)
        return self.prefill_s(0, 0, tensor_parallel_size) + marginal_s

    def decode_step_s(
        self, num_sequences: float, context_tokens: float, tensor_parallel_size: int = 1
    ) -> float:
        """One token for each of B sequences whose contexts sum up to S."""
        constant_s = self.gpu.decode.constant_s * self.model.compute_ratio
        constant_s += self.gpu.step_overhead_s
        return constant_s / speedup("decode", tensor_parallel_size) + self.decode_slope_s(
            num_sequences, context_tokens, tensor_parallel_size
        )

    def decode_slope_s(
        self, num_sequences: float, context_tokens: float, tensor_parallel_size: int = 1
    ) -> float:
        """By how much a step is longer than an empty one."""
        c = self.gpu.decode
        time_s = c.a_s * num_sequences + c.b_s * context_tokens
        return time_s * self.model.compute_ratio / speedup("decode", tensor_parallel_size)

    # Moving data -------------------------------------------------------------------------------

    def transfer_s(self, num_bytes: float) -> float:
        if not num_bytes:
            return 0.0
        return profiles.TRANSFER_LATENCY_S + num_bytes / self.gpu.link_bytes_per_s

    def visual_transfer_s(self, tokens: int) -> float:
        return self.transfer_s(tokens * self.model.visual_token_bytes)

    def kv_transfer_s(self, tokens: int) -> float:
        return self.transfer_s(tokens * self.model.kv_bytes_per_token)

    def migration_s(self, kv_tokens: int) -> float:
        """M(e): emptying an instance that holds so much KV."""
        return profiles.MIGRATION_CONSTANT_S + self.kv_transfer_s(kv_tokens)

    @property
    def flip_s(self) -> float:
        """Changing the role of an empty instance."""
        return profiles.FLIP_S

    # Sizes -------------------------------------------------------------------------------------

    @property
    def tipping_point_tokens(self) -> int:
        return self.gpu.tipping_point_tokens

    def kv_capacity_tokens(self, tensor_parallel_size: int = 1) -> int:
        """KV tokens of an instance after weights and activations; ValueError when none are left."""
        usable = self.gpu.memory_bytes * profiles.MEMORY_UTILISATION_RATIO * tensor_parallel_size
        usable -= self.model.weight_bytes + profiles.ACTIVATION_BYTES * tensor_parallel_size
        if usable <= 0:
            raise ValueError(
                f"{self.model.name} does not fit into {tensor_parallel_size} x {self.gpu.name}; "
                "raise the tensor-parallel size"
            )
        return int(usable / self.model.kv_bytes_per_token)

    def prompt_tokens(self, shape: RequestShape) -> int:
        """Length of the sequence that prefill computes."""
        return shape.text_tokens + (0 if self.model.cross_attention else shape.visual_tokens)

    def prompt_kv_tokens(self, shape: RequestShape) -> int:
        """KV after prefill; a cross-attended visual token counts by its bytes."""
        tokens = self.prompt_tokens(shape)
        if self.model.cross_attention:
            ratio = self.model.cross_kv_bytes_per_token / self.model.kv_bytes_per_token
            tokens += math.ceil(shape.visual_tokens * ratio)
        return tokens

    def kv_tokens(self, shape: RequestShape) -> int:
        """KV at the end of the answer."""
        return self.prompt_kv_tokens(shape) + shape.output_tokens

    # Requests ----------------------------------------------------------------------------------

    def decode_s(self, context_tokens: float, output_tokens: float) -> float:
        """A request's share of its decode steps on an instance that is full.

        Full is an instance whose steps take `full_step_ratio` times as long as empty ones, so a
        sequence pays for what it adds and for its part of the constant.
        """
        ratio = self.full_step_ratio
        return output_tokens * self.decode_slope_s(1, context_tokens) * ratio / (ratio - 1)

    def work(
        self, shape: RequestShape, cached_tokens: int = 0, cached_visual: Collection[str] = ()
    ) -> StageSeconds:
        """Instance-seconds of the request: what Eq. 1 calls its need."""
        encode_s = sum(self.encode_s(i.tokens) for i in shape.visual if i.key not in cached_visual)
        tokens = self.prompt_tokens(shape)
        decode_s = self.decode_s(tokens + shape.output_tokens / 2, shape.output_tokens)
        return StageSeconds(encode_s, self.prefill_s(tokens, cached_tokens), decode_s)

    def traffic(self, shapes: Iterable[RequestShape]) -> Traffic:
        """Sums over requests that arrived."""
        num_requests = input_tokens = output_tokens = 0
        encode_s = prefill_s = decode_s = 0.0
        for shape in shapes:
            work = self.work(shape)
            num_requests += 1
            input_tokens += self.prompt_tokens(shape)
            output_tokens += shape.output_tokens
            encode_s += work.encode
            prefill_s += work.prefill
            decode_s += work.decode
        return Traffic(num_requests, input_tokens, output_tokens, encode_s, prefill_s, decode_s)


def speedup(role: Role, tensor_parallel_size: int) -> float:
    """Of a stage on an instance of that size, over one GPU."""
    if tensor_parallel_size == 1:
        return 1.0
    return math.pow(profiles.SPEEDUP_PER_DOUBLING[role], math.log2(tensor_parallel_size))


def cost_model_of(gpu: str = "a800", model: str = "qwen2.5-vl-7b") -> CostModel:
    """The measured constants; ValueError names what is known when a name is not."""
    if gpu not in GPUS:
        raise ValueError(f"no constants for the GPU {gpu!r}; known: {', '.join(GPUS)}")
    if model not in MODELS:
        raise ValueError(f"no constants for the model {model!r}; known: {', '.join(MODELS)}")
    return CostModel(GPUS[gpu], MODELS[model])
