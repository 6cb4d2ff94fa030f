"""vLLM plug-in: the models that we serve, taking visual tokens as they are handed over.

Loaded in every vLLM process through the entry point group `vllm.general_plugins`. Models are named
here and imported when one of their checkpoints is loaded.
"""

MODELS = {
    "LlavaForConditionalGeneration": "Llava",
    "LlavaNextForConditionalGeneration": "LlavaNext",
    "LlavaOnevisionForConditionalGeneration": "LlavaOnevision",
    "Qwen2_5_VLForConditionalGeneration": "Qwen25VL",
    "Qwen3VLForConditionalGeneration": "Qwen3VL",
}


def register() -> None:
    """Put our models in the place of vLLM's. May be called more than once in a process."""
    from vllm import ModelRegistry

    for architecture, name in MODELS.items():
        ModelRegistry.register_model(architecture, f"saccade.serving.engine.models:{name}")
