"""vLLM plug-in: visual tokens of different counts in one batch.

vLLM's LLaVA family declares precomputed embeddings as one tensor [pictures, tokens, hidden], so two
pictures with different token counts, in one request or in two at once, kill the engine
("inconsistent shapes"). Pruned pictures differ in exactly that. The models themselves take a list
of tensors; only the declared schema is too narrow, and is widened here.

Loaded in every vLLM process through the entry point group `vllm.general_plugins`.
"""

from typing import Annotated, Any


def register() -> None:
    """Widen the embedding schemas. May be called more than once in a process."""
    import torch
    from vllm.model_executor.models import llava, llava_next, llava_onevision
    from vllm.utils.tensor_schema import TensorShape

    field: Any = Annotated[
        torch.Tensor | list[torch.Tensor],
        TensorShape("bn", "ifs", "hs", dynamic_dims={"ifs"}),
    ]
    for schema in (
        llava.LlavaImageEmbeddingInputs,
        llava_next.LlavaNextImageEmbeddingInputs,
        llava_onevision.LlavaOnevisionImageEmbeddingInputs,
    ):
        schema.__annotations__["data"] = field
