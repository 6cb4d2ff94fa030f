"""vLLM's engine arguments, from our configuration."""

from typing import Any

from vllm.config import KVEventsConfig, KVTransferConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform

from saccade.encoders.registry import ENCODERS
from saccade.serving.config.settings import Settings
from saccade.serving.engine.block_hashes import HASH_ALGORITHM


def gateway_engine_args(settings: Settings) -> dict[str, Any]:
    """For the gateway's renderer, which sees placeholders in the place of pictures."""
    media, support = settings.media, ENCODERS.family(settings.model.path).support
    limits = {
        "image": media.max_images if settings.takes_visual_tokens else 0,
        "video": media.max_videos if settings.serves_pictures and support.video else 0,
    }
    return _common(settings) | {"limit_mm_per_prompt": limits}


def instance_engine_args(settings: Settings) -> AsyncEngineArgs:
    """For an LLM instance: embeddings only, so that vLLM's own vision tower is never loaded."""
    on_cpu = current_platform.is_cpu()
    return AsyncEngineArgs(
        **_common(settings),
        limit_mm_per_prompt={"image": 0, "video": 0},
        kv_transfer_config=KVTransferConfig(
            kv_connector="LeasedNixlConnector",
            kv_connector_module_path="saccade.serving.engine.nixl",
            kv_role="kv_both",
            kv_buffer_device="cpu" if on_cpu else "cuda",
            kv_load_failure_policy="fail",
            kv_connector_extra_config={"kv_lease_duration": settings.engine.kv_lease_s},
        ),
        enable_prefix_caching=settings.engine.prefix_caching,
        kv_events_config=_kv_events(settings),
        prefix_caching_hash_algo=HASH_ALGORITHM,
        kv_cache_memory_bytes=settings.engine.kv_cache_bytes,
        max_num_seqs=settings.engine.max_num_seqs,
        enforce_eager=on_cpu,
        # Its metrics are passed through; nobody asks for the lines in its log.
        disable_log_stats=False,
        hf_overrides=with_positions if _makes_positions(settings) else {},
    )


def _kv_events(settings: Settings) -> KVEventsConfig | None:
    """Published on free ports of the interface that VLLM_HOST_IP names, not on all of them."""
    index = settings.prefix_index
    if not (index.enabled and settings.engine.prefix_caching):
        return None
    return KVEventsConfig(
        enable_kv_cache_events=True,
        publisher="zmq",
        endpoint="tcp://*:0",
        replay_endpoint="tcp://*:0",
        buffer_steps=index.replay_batches,
    )


def with_positions(config: Any) -> Any:
    """A model that counts one by one, as one that is told its positions.

    M-RoPE with one section rotates by the first of three positions alone, and where that is the
    index, as RoPE does. Raises `ValueError` for a rotation that vLLM cannot do so.
    """
    text = config.get_text_config()
    if not hasattr(text, "hidden_size"):
        return config  # vLLM tries on an empty one what an override does
    rope = dict(getattr(text, "rope_parameters", None) or {})
    if "mrope_section" in rope:
        return config
    if rope.get("rope_type", "default") != "default":
        raise ValueError(
            "engine.keep_positions needs a model with plain rotary embeddings; switch it off"
        )
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    text.rope_parameters = {**rope, "rope_type": "default", "mrope_section": [head_dim // 2, 0, 0]}
    return config


def _makes_positions(settings: Settings) -> bool:
    family = ENCODERS.family(settings.model.path)
    return (
        settings.engine.keep_positions
        and family.support.pictures
        and not family.uses_grid_positions
    )


def _common(settings: Settings) -> dict[str, Any]:
    model = settings.model
    return {
        "model": str(model.path),
        "served_model_name": [model.name],
        "dtype": model.dtype,
        "max_model_len": model.max_model_len,
        "block_size": settings.engine.block_size,
        "enable_mm_embeds": True,
        # A placeholder's content says nothing about the picture, so caching it would be wrong in
        # the gateway; instances get every visual token once and have no use for a second copy.
        "mm_processor_cache_gb": 0,
    }
