"""LLaVA-1.5: a CLIP tower, a two-layer projector, one square per picture."""
