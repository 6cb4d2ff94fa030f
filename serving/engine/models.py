"""vLLM's models, which also take what our encode instances hand over (`serving.engine.handed`).

vLLM's own way in for embeddings is too narrow for us. The LLaVA models want the same number of
visual tokens for every picture of a batch, LLaVA-OneVision knows no embeddings of video, and the
Qwen models want as many as the picture's grid has and compute positions from it, so that no token
may be left out. Any of it kills the engine process. Here, each item brings its visual tokens and,
for M-RoPE, their positions; everything else is vLLM's, pictures as pixels included.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from vllm.config import VllmConfig
from vllm.model_executor.models.llava import LlavaForConditionalGeneration
from vllm.model_executor.models.llava_next import LlavaNextForConditionalGeneration
from vllm.model_executor.models.llava_onevision import (
    LlavaOnevisionDummyInputsBuilder,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionMultiModalProcessor,
    LlavaOnevisionProcessingInfo,
)
from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from vllm.model_executor.models.qwen3_vl import Qwen3VLForConditionalGeneration
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFieldConfig

from saccade.serving.engine.handed import EXTENT, POSITIONS, VISUAL_TOKENS


class TakesVisualTokens:
    """Before a model of vLLM's in the order of resolution."""

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """One [n, row_size] for each item, from one batch of items of one kind."""
        if VISUAL_TOKENS in kwargs:
            # A tensor where all have equally many, a list otherwise.
            return tuple(kwargs[VISUAL_TOKENS])
        return super().embed_multimodal(**kwargs)  # type: ignore[misc]


class TakesPositions(TakesVisualTokens):
    """For models that rotate by (time, row, column).

    LLaVA's do where `serving.engine.args.with_positions` is in force.
    """

    supports_mrope: ClassVar[Literal[True]] = True

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: list[Any]
    ) -> tuple[torch.Tensor, int]:
        """[3, len(input_tokens)], and what is added to a later token's index for its position."""
        # Of a picture that the prefix cache covers, or whose KV blocks come from another engine,
        # vLLM sends the worker what stays on the CPU alone: positions, but no visual tokens.
        if not all(POSITIONS in feature.data for feature in mm_features):
            # Pixels: no instance of ours sends them, plain vLLM with this plug-in may.
            inherited: tuple[torch.Tensor, int] = super().get_mrope_input_positions(  # type: ignore[misc]
                input_tokens, mm_features
            )
            return inherited
        return positions_with(input_tokens, mm_features)


def positions_with(input_tokens: list[int], mm_features: list[Any]) -> tuple[torch.Tensor, int]:
    """Text counts on one by one; each picture's own positions stand on where the text was.

    After a picture, text goes on behind the largest position of its *unpruned* grid: what is
    said about a picture is as far from its corner as if no token had been left out.
    """
    parts: list[torch.Tensor] = []
    index = position = 0
    for feature in sorted(mm_features, key=lambda one: int(one.mm_position.offset)):
        num_words = feature.mm_position.offset - index
        parts.append(_counted(position, num_words))
        position += num_words
        inside = feature.data[POSITIONS].data
        parts.append(inside.T + position)
        position += int(feature.data[EXTENT].data)
        index = feature.mm_position.offset + len(inside)
    num_words = len(input_tokens) - index
    parts.append(_counted(position, num_words))
    return torch.cat(parts, dim=1), position + num_words - len(input_tokens)


def _counted(start: int, count: int) -> torch.Tensor:
    return torch.arange(start, start + count).expand(3, -1)


class Llava(TakesPositions, LlavaForConditionalGeneration):
    pass


class LlavaNext(TakesPositions, LlavaNextForConditionalGeneration):
    pass


class _WithEmbeddedClips(LlavaOnevisionMultiModalProcessor):
    """Renders prompts with clips that are placeholders; vLLM's knows such pictures only."""

    def _get_mm_fields_config(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        fields = super()._get_mm_fields_config(*args, **kwargs)
        return {**fields, "video_embeds": MultiModalFieldConfig.batched("video")}


@MULTIMODAL_REGISTRY.register_processor(
    _WithEmbeddedClips,
    info=LlavaOnevisionProcessingInfo,
    dummy_inputs=LlavaOnevisionDummyInputsBuilder,
)
class LlavaOnevision(TakesPositions, LlavaOnevisionForConditionalGeneration):
    pass


class Qwen25VL(TakesPositions, Qwen2_5_VLForConditionalGeneration):
    pass


class Qwen3VL(TakesPositions, Qwen3VLForConditionalGeneration):
    """vLLM switches the features for further layers off where the tower is not loaded, and its
    engine dies of rows that have them all the same."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        config: Any = self.config
        levels = config.vision_config.deepstack_visual_indexes
        if self.use_deepstack or not levels:
            return
        self.use_deepstack = True
        self.deepstack_num_level = len(levels)
        self.multiscale_dim = self.visual_dim * len(levels)
        rows = vllm_config.scheduler_config.max_num_batched_tokens
        self.deepstack_input_embeds = [
            torch.zeros(rows, config.text_config.hidden_size) for _ in levels
        ]
        self.deepstack_input_embeds_num_tokens = 0
