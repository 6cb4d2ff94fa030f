"""The tensors of a checkpoint by their names on the hub, and random values for them.

Names and shapes are written out here rather than taken from transformers' modules: those drop
`vision_model.` from a CLIP tower's names when they save it, and stock vLLM then refuses the file.

The values are those of a model that has learned nothing, scaled so that its greedy answers are
worth comparing: they depend on the picture and on every word, and they wander through the
vocabulary instead of repeating a token.
"""

import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import TensorSpec, serialize

from saccade.training.architecture import Architecture, LanguageSizes, TextTowerSizes, VisionSizes
from saccade.training.tokenizer import FIRST_WORD_ID

Shape = tuple[int, ...]
Shapes = dict[str, Shape]
Values = NDArray[np.float32]
Bits = NDArray[np.uint16]
"""bfloat16 numbers, which numpy does not know, as their 16 bits."""

GAINS = {
    "q_proj": 2.0,
    "k_proj": 2.0,
    "language_model.v_proj": 1.5,
    "language_model.o_proj": 1.5,
    "language_model.down_proj": 3.0,
    "multi_modal_projector.linear_1": 2.0,
    "multi_modal_projector.linear_2": 2.0,
    "language_model.lm_head": 3.0,
}
"""How much larger than 1 / sqrt(fan-in) a matrix is, by tower and name or by name alone. Sharp
attention, and layers that outweigh the embeddings, make an answer depend on all that came before.
"""

EMBEDDING_STD = 0.2
MUTE_GAIN = 0.1
LOGIT_SCALE = 2.6592
"""CLIP's own start, log(1 / 0.07)."""


def model_shapes(architecture: Architecture) -> Shapes:
    """model.safetensors"""
    return {
        **_vision_shapes(architecture.vision),
        **_projector_shapes(architecture.vision.hidden_size, architecture.language.hidden_size),
        **_language_shapes(architecture.language, architecture.vocab_size),
    }


def text_tower_shapes(architecture: Architecture) -> Shapes:
    """text_tower/model.safetensors"""
    sizes = architecture.text_tower
    return {
        "text_model.embeddings.token_embedding.weight": (
            architecture.vocab_size,
            sizes.hidden_size,
        ),
        "text_model.embeddings.position_embedding.weight": (
            sizes.max_positions,
            sizes.hidden_size,
        ),
        **_clip_layers("text_model.", sizes),
        **_norm("text_model.final_layer_norm", sizes.hidden_size),
        "text_projection.weight": (sizes.projection_dim, sizes.hidden_size),
    }


def visual_projection_shapes(architecture: Architecture) -> Shapes:
    """text_tower/visual_projection.safetensors: the vision tower's way into the space of both."""
    return {
        "logit_scale": (),
        "visual_projection.weight": (
            architecture.text_tower.projection_dim,
            architecture.vision.hidden_size,
        ),
    }


def random_weights(shapes: Shapes, architecture: Architecture, seed: int) -> dict[str, Bits]:
    """The same bits for the same seed, whatever the machine and the other tensors.

    Uniform numbers, since they need no mathematical functions, whose last bit differs from one
    processor to the next.
    """
    return {
        name: _to_bfloat16(_values(name, shape, architecture, seed))
        for name, shape in shapes.items()
    }


def write_safetensors(path: Path, tensors: Mapping[str, Bits]) -> None:
    specs = {
        name: TensorSpec(
            dtype="bfloat16",
            shape=bits.shape,
            data_ptr=bits.ctypes.data,
            data_len=bits.nbytes,
        )
        for name, bits in tensors.items()
    }
    path.write_bytes(serialize(specs, metadata={"format": "pt"}))


def _values(name: str, shape: Shape, architecture: Architecture, seed: int) -> Values:
    if name == "logit_scale":
        return np.full(shape, LOGIT_SCALE, dtype=np.float32)
    if name.endswith(".bias"):
        return np.zeros(shape, dtype=np.float32)
    if len(shape) == 1 and "norm" in name:
        return np.ones(shape, dtype=np.float32)
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    unit = (generator.random(shape, dtype=np.float32) * 2 - 1) * np.float32(math.sqrt(3))
    if "embed_tokens" in name:
        return unit * np.float32(EMBEDDING_STD)
    if "embedding" in name and "patch" not in name:
        return unit
    if "lm_head" in name:
        # Words are said; control tokens and loose bytes are not, so that answers stay legible.
        spoken = np.arange(architecture.vocab_size) >= FIRST_WORD_ID
        spoken[architecture.tokens.end] = True
        unit *= np.where(spoken, 1, MUTE_GAIN).astype(np.float32)[:, None]
    path = name.split(".")
    module = path[-2]
    gain = GAINS.get(f"{path[0]}.{module}", GAINS.get(module, 1.0))
    return unit * np.float32(gain / math.sqrt(math.prod(shape[1:])))


def _to_bfloat16(values: Values) -> Bits:
    """Round to the nearest, ties to even."""
    bits = values.view(np.uint32)
    return np.asarray((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, dtype=np.uint16)


def _vision_shapes(sizes: VisionSizes) -> Shapes:
    width, patch = sizes.hidden_size, sizes.patch_size
    prefix = "vision_tower.vision_model."
    return {
        f"{prefix}embeddings.class_embedding": (width,),
        f"{prefix}embeddings.patch_embedding.weight": (width, 3, patch, patch),
        f"{prefix}embeddings.position_embedding.weight": (sizes.num_patches + 1, width),
        **_norm(f"{prefix}pre_layrnorm", width),
        **_clip_layers(prefix, sizes),
        **_norm(f"{prefix}post_layernorm", width),
    }


def _projector_shapes(vision_width: int, language_width: int) -> Shapes:
    return {
        **_linear("multi_modal_projector.linear_1", language_width, vision_width),
        **_linear("multi_modal_projector.linear_2", language_width, language_width),
    }


def _language_shapes(sizes: LanguageSizes, vocab_size: int) -> Shapes:
    width = sizes.hidden_size
    shapes: Shapes = {"language_model.model.embed_tokens.weight": (vocab_size, width)}
    for index in range(sizes.num_layers):
        layer = f"language_model.model.layers.{index}."
        shapes |= {
            f"{layer}input_layernorm.weight": (width,),
            f"{layer}self_attn.q_proj.weight": (sizes.num_heads * sizes.head_dim, width),
            f"{layer}self_attn.k_proj.weight": (sizes.num_kv_heads * sizes.head_dim, width),
            f"{layer}self_attn.v_proj.weight": (sizes.num_kv_heads * sizes.head_dim, width),
            f"{layer}self_attn.o_proj.weight": (width, sizes.num_heads * sizes.head_dim),
            f"{layer}post_attention_layernorm.weight": (width,),
            f"{layer}mlp.gate_proj.weight": (sizes.mlp_size, width),
            f"{layer}mlp.up_proj.weight": (sizes.mlp_size, width),
            f"{layer}mlp.down_proj.weight": (width, sizes.mlp_size),
        }
    shapes["language_model.model.norm.weight"] = (width,)
    shapes["language_model.lm_head.weight"] = (vocab_size, width)
    return shapes


def _clip_layers(prefix: str, sizes: VisionSizes | TextTowerSizes) -> Shapes:
    width = sizes.hidden_size
    shapes: Shapes = {}
    for index in range(sizes.num_layers):
        layer = f"{prefix}encoder.layers.{index}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{layer}self_attn.{name}", width, width)
        shapes |= _norm(f"{layer}layer_norm1", width)
        shapes |= _linear(f"{layer}mlp.fc1", sizes.mlp_size, width)
        shapes |= _linear(f"{layer}mlp.fc2", width, sizes.mlp_size)
        shapes |= _norm(f"{layer}layer_norm2", width)
    return shapes


def _linear(name: str, out_size: int, in_size: int) -> Shapes:
    return {f"{name}.weight": (out_size, in_size), f"{name}.bias": (out_size,)}


def _norm(name: str, size: int) -> Shapes:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
