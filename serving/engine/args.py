"""vLLM's engine arguments, from our configuration."""

from typing import Any

from vllm.config import KVTransferConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform

from saccade.serving.config.settings import Settings


def gateway_engine_args(settings: Settings) -> dict[str, Any]:
    """For the gateway's renderer, which sees placeholders in the place of pictures."""
    max_pictures = settings.media.max_images if settings.serves_pictures else 0
    return _common(settings) | {"limit_mm_per_prompt": {"image": max_pictures}}


def instance_engine_args(settings: Settings) -> AsyncEngineArgs:
    """For an LLM instance: embeddings only, so that vLLM's own vision tower is never loaded."""
    on_cpu = current_platform.is_cpu()
    return AsyncEngineArgs(
        **_common(settings),
        limit_mm_per_prompt={"image": 0},
        kv_transfer_config=KVTransferConfig(
            kv_connector="LeasedNixlConnector",
            kv_connector_module_path="saccade.serving.engine.nixl",
            kv_role="kv_both",
            kv_buffer_device="cpu" if on_cpu else "cuda",
            kv_load_failure_policy="fail",
            kv_connector_extra_config={"kv_lease_duration": settings.engine.kv_lease_s},
        ),
        kv_cache_memory_bytes=settings.engine.kv_cache_bytes,
        max_num_seqs=settings.engine.max_num_seqs,
        enforce_eager=on_cpu,
        disable_log_stats=True,
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
