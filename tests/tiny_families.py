"""A small checkpoint for each family: what the published configurations say, in small."""

from tests.tiny_checkpoint import TOKEN_ID, VOCABULARY, Json, TinyFamily

LANGUAGE: Json = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TILE, PATCH = 56, 14
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
CLIP: Json = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": PATCH,
    "projection_dim": 16,
}
SIGLIP: Json = {**CLIP, "model_type": "siglip_vision_model", "vision_use_head": False}
PROCESSED: Json = {
    "do_convert_rgb": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": MEAN,
    "image_std": STD,
    "resample": 3,
}


def _llava_name(name: str) -> str:
    """`model.language_model.layers` is `language_model.model.layers` on the hub."""
    name = name.replace("model.language_model.", "language_model.model.")
    name = name.replace("lm_head.", "language_model.lm_head.")
    return name.removeprefix("model.").replace("vision_tower.", "vision_tower.vision_model.")


def _qwen_2_5_name(name: str) -> str:
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def _tiled(processor: str, image_processor: str, pinpoints: list[list[int]]) -> Json:
    return {
        **PROCESSED,
        "image_processor_type": image_processor,
        "processor_class": processor,
        "do_resize": True,
        "do_pad": True,
        "image_grid_pinpoints": pinpoints,
    }


def _square(side: int) -> Json:
    return {"height": side, "width": side}


LLAVA = TinyFamily(
    "llava",
    {
        "config.json": {
            "architectures": ["LlavaForConditionalGeneration"],
            "model_type": "llava",
            "image_token_index": TOKEN_ID["<image>"],
            "projector_hidden_act": "gelu",
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "tie_word_embeddings": False,
            "text_config": {**LANGUAGE, "model_type": "llama"},
            "vision_config": CLIP,
        },
        "preprocessor_config.json": {
            **PROCESSED,
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "LlavaProcessor",
            "do_resize": True,
            "size": {"shortest_edge": TILE},
            "do_center_crop": True,
            "crop_size": _square(TILE),
        },
        "processor_config.json": {
            "processor_class": "LlavaProcessor",
            "image_token": "<image>",
            "patch_size": PATCH,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
    },
    _llava_name,
    "<image>",
)

NEXT_PINPOINTS = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
LLAVA_NEXT = TinyFamily(
    "llava_next",
    {
        "config.json": {
            **LLAVA.files["config.json"],
            "architectures": ["LlavaNextForConditionalGeneration"],
            "model_type": "llava_next",
            "image_grid_pinpoints": NEXT_PINPOINTS,
            "use_image_newline_parameter": True,
            "text_config": {**LANGUAGE, "model_type": "mistral", "sliding_window": None},
        },
        "preprocessor_config.json": {
            **_tiled("LlavaNextProcessor", "LlavaNextImageProcessor", NEXT_PINPOINTS),
            "size": {"shortest_edge": TILE},
            "do_center_crop": True,
            "crop_size": _square(TILE),
        },
        "processor_config.json": {
            "processor_class": "LlavaNextProcessor",
            "image_token": "<image>",
            "patch_size": PATCH,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
    },
    _llava_name,
    "<image>",
)

ONEVISION_PINPOINTS = [
    [TILE * rows, TILE * columns] for rows in range(1, 7) for columns in range(1, 7)
]
LLAVA_ONEVISION = TinyFamily(
    "llava_onevision",
    {
        "config.json": {
            "architectures": ["LlavaOnevisionForConditionalGeneration"],
            "model_type": "llava_onevision",
            "image_token_index": TOKEN_ID["<image>"],
            "video_token_index": TOKEN_ID["<video>"],
            "image_grid_pinpoints": ONEVISION_PINPOINTS,
            "projector_hidden_act": "gelu",
            "vision_aspect_ratio": "anyres_max_9",
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "tie_word_embeddings": False,
            "use_image_newline_parameter": True,
            "text_config": {**LANGUAGE, "model_type": "qwen2"},
            "vision_config": SIGLIP,
        },
        "preprocessor_config.json": {
            **_tiled(
                "LlavaOnevisionProcessor", "LlavaOnevisionImageProcessor", ONEVISION_PINPOINTS
            ),
            "size": _square(TILE),
        },
        "video_preprocessor_config.json": {
            **PROCESSED,
            "video_processor_type": "LlavaOnevisionVideoProcessor",
            "processor_class": "LlavaOnevisionProcessor",
            "do_resize": True,
            "size": _square(TILE),
        },
        "processor_config.json": {
            "processor_class": "LlavaOnevisionProcessor",
            "image_token": "<image>",
            "video_token": "<video>",
            "num_image_tokens": (TILE // PATCH) ** 2,
            "vision_aspect_ratio": "anyres_max_9",
            "vision_feature_select_strategy": "full",
        },
    },
    _llava_name,
    "<image>",
    "<video>",
)

QWEN_IMAGE, QWEN_VIDEO = (
    f"<|vision_start|> <|{kind}_pad|> <|vision_end|>" for kind in ("image", "video")
)
QWEN_IDS: Json = {
    "vision_start_token_id": TOKEN_ID["<|vision_start|>"],
    "vision_end_token_id": TOKEN_ID["<|vision_end|>"],
    "image_token_id": TOKEN_ID["<|image_pad|>"],
    "video_token_id": TOKEN_ID["<|video_pad|>"],
}
QWEN2_5_VL = TinyFamily(
    "qwen2_5_vl",
    {
        # The published one has the language model's sizes at the root, too.
        "config.json": {
            **LANGUAGE,
            **QWEN_IDS,
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "model_type": "qwen2_5_vl",
            "hidden_act": "silu",
            "use_sliding_window": False,
            "rope_theta": 10000.0,
            "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
            "vision_config": {
                "depth": 3,
                "hidden_act": "silu",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_heads": 2,
                "in_chans": 3,
                "out_hidden_size": 128,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "spatial_patch_size": 14,
                "window_size": 56,
                "fullatt_block_indexes": [1],
                "tokens_per_second": 2,
                "temporal_patch_size": 2,
            },
        },
        "preprocessor_config.json": {
            "min_pixels": 4 * 28 * 28,
            "max_pixels": 64 * 28 * 28,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": MEAN,
            "image_std": STD,
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    },
    _qwen_2_5_name,
    QWEN_IMAGE,
    QWEN_VIDEO,
)

QWEN3_VL = TinyFamily(
    "qwen3_vl",
    {
        "config.json": {
            **QWEN_IDS,
            "architectures": ["Qwen3VLForConditionalGeneration"],
            "model_type": "qwen3_vl",
            "tie_word_embeddings": False,
            "text_config": {
                **LANGUAGE,
                "model_type": "qwen3_vl_text",
                "head_dim": 32,
                "hidden_act": "silu",
                "rope_theta": 10000.0,
                "rope_scaling": {
                    "rope_type": "default",
                    "mrope_interleaved": True,
                    "mrope_section": [6, 5, 5],
                },
            },
            "vision_config": {
                "model_type": "qwen3_vl",
                "depth": 4,
                "hidden_act": "gelu_pytorch_tanh",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_heads": 2,
                "in_channels": 3,
                "out_hidden_size": 128,
                "patch_size": 16,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0, 2],
            },
        },
        "preprocessor_config.json": {
            "size": {"shortest_edge": 4 * 32 * 32, "longest_edge": 64 * 32 * 32},
            "patch_size": 16,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "image_processor_type": "Qwen2VLImageProcessorFast",
            "processor_class": "Qwen3VLProcessor",
        },
        "video_preprocessor_config.json": {
            "size": {"shortest_edge": 4 * 32 * 32, "longest_edge": 256 * 32 * 32},
            "patch_size": 16,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "video_processor_type": "Qwen3VLVideoProcessor",
            "processor_class": "Qwen3VLProcessor",
        },
    },
    lambda name: name,
    QWEN_IMAGE,
    QWEN_VIDEO,
)

TEXT_ONLY = TinyFamily(
    "text_only",
    {
        "config.json": {
            **LANGUAGE,
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "rope_theta": 10000.0,
        }
    },
    lambda name: name,
)

WITH_PICTURES = (LLAVA, LLAVA_NEXT, LLAVA_ONEVISION, QWEN2_5_VL, QWEN3_VL)
WITH_CLIPS = (LLAVA_ONEVISION, QWEN2_5_VL, QWEN3_VL)
FAMILIES = (*WITH_PICTURES, TEXT_ONLY)
