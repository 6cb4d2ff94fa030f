"""Saccade: elastic, disaggregated serving for multimodal LLMs."""

__version__ = "0.1.0"
