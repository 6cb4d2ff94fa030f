"""Constants of GPUs and models, and where they come from.

Times of encode, prefill and decode: least-squares fits (relative error) of operator tables
measured by ai-dynamo/aiconfigurator (vLLM 0.24 on H100 and H200, 0.14 on A100), summed over the
layers of Qwen2.5-VL-7B, tensor-parallel size 1, bf16. Largest relative error of a fit: encode 2.6
%, prefill 10.9 %, decode 7.8 %. They are kernel times: `GpuProfile.step_overhead_s` adds the
engine's own. A100's encoder attention is approximated by its LLM attention.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple


class Coefficients(NamedTuple):
    """T = constant + a·x + b·y, in seconds.

    encode: x visual tokens n, y = n²; prefill: x tokens t, y = t²; decode: x sequences B, y = sum
    of their contexts S.
    """

    constant_s: float
    a_s: float
    b_s: float


@dataclass(frozen=True, slots=True)
class GpuProfile:
    """One GPU running Qwen2.5-VL-7B."""

    name: str
    encode: Coefficients
    prefill: Coefficients
    decode: Coefficients
    memory_bytes: float
    link_bytes_per_s: float
    """Between instances, one direction: NVLink."""
    step_overhead_s: float = 1e-3
    """A Python engine with CUDA graphs adds 0.5 to 1 ms a step; the upper end is taken."""
    tipping_point_tokens: int = 512
    """Where batching more prefill tokens stops to pay: within 6 % of the asymptote of ms per
    token."""


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What depends on the model and not on the GPU."""

    name: str
    kv_bytes_per_token: float
    """2 (K, V) · layers · KV heads · head size · 2 bytes."""
    visual_token_bytes: float
    """hidden size · 2 bytes."""
    weight_bytes: float
    cross_attention: bool = False
    """Visual tokens are attended to, and do not lengthen the sequence."""
    cross_kv_bytes_per_token: float = 0.0
    compute_ratio: float = 1.0
    """Times of the LLM stages, relative to Qwen2.5-VL-7B's."""
    encode_ratio: float = 1.0


_MS = 1e-3

# 900 GB/s NVLink 4 both ways, 600 GB/s NVLink 3; the A800 is an A100 with 400.
GPUS: dict[str, GpuProfile] = {
    "h200": GpuProfile(
        "h200",
        Coefficients(1.474 * _MS, 9.298e-3 * _MS, 6.552e-7 * _MS),
        Coefficients(2.565 * _MS, 1.745e-2 * _MS, 3.865e-7 * _MS),
        Coefficients(4.545 * _MS, 9.909e-3 * _MS, 1.2894e-5 * _MS),
        memory_bytes=141e9,
        link_bytes_per_s=450e9,
    ),
    "h100": GpuProfile(
        "h100",
        Coefficients(1.638 * _MS, 1.000e-2 * _MS, 6.823e-7 * _MS),
        Coefficients(3.791 * _MS, 1.708e-2 * _MS, 4.004e-7 * _MS),
        Coefficients(5.825 * _MS, 9.233e-3 * _MS, 1.8241e-5 * _MS),
        memory_bytes=80e9,
        link_bytes_per_s=450e9,
    ),
    "a100": GpuProfile(
        "a100",
        Coefficients(2.122 * _MS, 2.974e-2 * _MS, 1.713e-6 * _MS),
        Coefficients(6.404 * _MS, 4.953e-2 * _MS, 1.142e-6 * _MS),
        Coefficients(10.19 * _MS, 2.844e-2 * _MS, 3.947e-5 * _MS),
        memory_bytes=80e9,
        link_bytes_per_s=300e9,
    ),
    "a800": GpuProfile(
        "a800",
        Coefficients(2.122 * _MS, 2.974e-2 * _MS, 1.713e-6 * _MS),
        Coefficients(6.404 * _MS, 4.953e-2 * _MS, 1.142e-6 * _MS),
        Coefficients(10.19 * _MS, 2.844e-2 * _MS, 3.947e-5 * _MS),
        memory_bytes=80e9,
        link_bytes_per_s=200e9,
    ),
}

# KV and weights are computed from the configurations. The ratios of the 11B model are those of the
# parameters that a token passes (9.8 of 7.6 billion; towers 0.86 of 0.67): derived, not measured.
MODELS: dict[str, ModelProfile] = {
    "qwen2.5-vl-7b": ModelProfile("qwen2.5-vl-7b", 57_344, 7_168, 16.6e9),
    "llama-3.2-vision-11b": ModelProfile(
        "llama-3.2-vision-11b",
        131_072,
        8_192,
        21.4e9,
        cross_attention=True,
        cross_kv_bytes_per_token=32_768,
        compute_ratio=1.29,
        encode_ratio=1.28,
    ),
}

UNIT_GPU = GpuProfile(
    "unit",
    Coefficients(1.0, 0.0, 0.0),
    Coefficients(1.0, 0.0, 0.0),
    Coefficients(0.0, 1.0, 0.0),
    memory_bytes=math.inf,
    link_bytes_per_s=math.inf,
    step_overhead_s=0.0,
)
UNIT_MODEL = ModelProfile("unit", 1.0, 1.0, 0.0)

PREPROCESS_CONSTANT_S = 3e-3
PREPROCESS_S_PER_PIXEL = 25e-3 / 1e6
"""Decoding and resizing on one core: 3 ms + 25 ms a megapixel. Inferred from Pillow's 30 to 60
megapixels a second and ~10 ms for 448² in Hugging Face processors."""
TRANSFER_LATENCY_S = 0.5e-3
"""0.2 to 1 ms a transfer, whatever its size."""
MIGRATION_CONSTANT_S = 10.1e-3
"""ElasticMM's shipped calibration of a migration."""
FLIP_S = 0.05
"""A change of role with the weights in memory: 10 to 100 ms."""
MEMORY_UTILISATION_RATIO = 0.9
ACTIVATION_BYTES = 4e9
"""Memory that neither weights nor KV get: with 0.9 of 80 GB, about 0.9 million tokens are left."""
FULL_STEP_RATIO = 3.0
"""A decode instance is full when its steps take three times as long as empty ones: 34 ms and about
230 sequences of 1,700 tokens on an A100. Priced at a batch of 64, decode would look twice as
expensive, and get instances that prefill needs."""
SPEEDUP_PER_DOUBLING: dict[str, float] = {"encode": 1.0, "prefill": 1.8, "decode": 1.5}
"""Of twice the tensor-parallel size: encoding gains nothing (a 72B tower on H20: 492, 466, 524 ms
for sizes 2, 4, 8); the others are ElasticMM's scalabilities 0.90 and 0.75, doubled."""
