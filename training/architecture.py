"""The sizes of saccade-tiny, and the configuration files that state them.

Everything here is plain data: no torch and no transformers, so that a checkpoint can be described
in milliseconds. The names are those of the files, as stock transformers and stock vLLM read them.

Why these sizes:

- Pictures are 192 x 192 in patches of 16: a 12 x 12 grid, 144 visual tokens, enough for pruning to
  have something to remove. The number of tokens sets the cost; 192 pixels instead of 168 or 144
  cost nearly nothing more and leave small labels readable.
- The projector takes the last layer but one (`feature_layer = -2`), as LLaVA-1.5 does: five of the
  six vision layers serve, the sixth and the final norm belong to the contrastive head.
- The language model is six layers deep rather than wide, so that pruning between layers means
  something. Heads have 32 dimensions, the smallest that vLLM's CPU attention takes.
- Every width differs from the others (160, 192, 128, 96), so that a tensor of the wrong space
  fails by its shape instead of passing unnoticed.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
BICUBIC = 3


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids with a meaning. `end` closes every turn, and ends a generation.

    `end` must not be 2: with that id, transformers' CLIP text tower pools at the highest token id
    of a row instead of at its end.
    """

    pad: int = 0
    bos: int = 1
    image: int = 2
    end: int = 3


@dataclass(frozen=True)
class VisionSizes:
    image_size: int = 192
    patch_size: int = 16
    hidden_size: int = 160
    num_layers: int = 6
    num_heads: int = 5
    mlp_size: int = 640
    feature_layer: int = -2

    @property
    def num_patches(self) -> int:
        side = self.image_size // self.patch_size
        return side * side


@dataclass(frozen=True)
class LanguageSizes:
    hidden_size: int = 192
    num_layers: int = 6
    num_heads: int = 6
    num_kv_heads: int = 2
    head_dim: int = 32
    mlp_size: int = 512
    max_positions: int = 4096


@dataclass(frozen=True)
class TextTowerSizes:
    """The CLIP text tower, and the space that it shares with the vision tower."""

    hidden_size: int = 128
    num_layers: int = 3
    num_heads: int = 4
    mlp_size: int = 512
    max_positions: int = 77
    projection_dim: int = 96


@dataclass(frozen=True)
class Architecture:
    vocab_size: int = 1536
    tokens: SpecialTokens = field(default_factory=SpecialTokens)
    vision: VisionSizes = field(default_factory=VisionSizes)
    language: LanguageSizes = field(default_factory=LanguageSizes)
    text_tower: TextTowerSizes = field(default_factory=TextTowerSizes)

    def config(self) -> Json:
        """config.json"""
        return {
            "architectures": ["LlavaForConditionalGeneration"],
            "model_type": "llava",
            "dtype": "bfloat16",
            "image_token_index": self.tokens.image,
            "image_seq_length": self.vision.num_patches,
            "multimodal_projector_bias": True,
            "projector_hidden_act": "gelu",
            "tie_word_embeddings": False,
            "vision_feature_layer": self.vision.feature_layer,
            "vision_feature_select_strategy": "default",
            "text_config": self._language_config(),
            "vision_config": self._vision_config(),
        }

    def text_tower_config(self) -> Json:
        """text_tower/config.json"""
        sizes = self.text_tower
        return {
            "architectures": ["CLIPTextModelWithProjection"],
            "model_type": "clip_text_model",
            "dtype": "bfloat16",
            "vocab_size": self.vocab_size,
            "hidden_size": sizes.hidden_size,
            "intermediate_size": sizes.mlp_size,
            "num_hidden_layers": sizes.num_layers,
            "num_attention_heads": sizes.num_heads,
            "max_position_embeddings": sizes.max_positions,
            "projection_dim": sizes.projection_dim,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "pad_token_id": self.tokens.pad,
            "bos_token_id": self.tokens.bos,
            "eos_token_id": self.tokens.end,
        }

    def generation_config(self) -> Json:
        """generation_config.json"""
        return {
            "pad_token_id": self.tokens.pad,
            "bos_token_id": self.tokens.bos,
            "eos_token_id": self.tokens.end,
        }

    def preprocessor_config(self) -> Json:
        """preprocessor_config.json: any picture is squeezed into the square, nothing is cut off."""
        square = {"height": self.vision.image_size, "width": self.vision.image_size}
        return {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "LlavaProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": square,
            "resample": BICUBIC,
            "do_center_crop": False,
            "crop_size": square,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(CLIP_MEAN),
            "image_std": list(CLIP_STD),
        }

    def processor_config(self) -> Json:
        """processor_config.json"""
        return {
            "processor_class": "LlavaProcessor",
            "image_token": "<image>",
            "patch_size": self.vision.patch_size,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        }

    def _vision_config(self) -> Json:
        sizes = self.vision
        return {
            "model_type": "clip_vision_model",
            "image_size": sizes.image_size,
            "patch_size": sizes.patch_size,
            "hidden_size": sizes.hidden_size,
            "intermediate_size": sizes.mlp_size,
            "num_hidden_layers": sizes.num_layers,
            "num_attention_heads": sizes.num_heads,
            "projection_dim": self.text_tower.projection_dim,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
        }

    def _language_config(self) -> Json:
        sizes = self.language
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "dtype": "bfloat16",
            "vocab_size": self.vocab_size,
            "hidden_size": sizes.hidden_size,
            "intermediate_size": sizes.mlp_size,
            "num_hidden_layers": sizes.num_layers,
            "num_attention_heads": sizes.num_heads,
            "num_key_value_heads": sizes.num_kv_heads,
            "head_dim": sizes.head_dim,
            "max_position_embeddings": sizes.max_positions,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
            "pad_token_id": self.tokens.pad,
            "bos_token_id": self.tokens.bos,
            "eos_token_id": self.tokens.end,
        }


SACCADE_TINY = Architecture()
