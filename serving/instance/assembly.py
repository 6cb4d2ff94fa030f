"""The vision half of an instance, put together from its settings."""

from dataclasses import dataclass
from pathlib import Path

from saccade.encoders.checkpoint import CheckpointFiles
from saccade.encoders.features import FeatureEncoder
from saccade.encoders.memory import serving_dtype
from saccade.encoders.pruning.registry import installed
from saccade.encoders.questions import ContrastiveSpace, question_encoder, text_tower_of
from saccade.encoders.registry import ENCODERS
from saccade.encoders.revision import encoder_revision
from saccade.serving.caches.visual import VisualTokenCache
from saccade.serving.config.settings import Settings
from saccade.serving.instance.cached import CachedEncodeStage
from saccade.serving.instance.encoding import EncodeStage
from saccade.serving.instance.pruning import PruneStage


@dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """An encoder, and the name of all that its features depend on beside the picture."""

    features: FeatureEncoder
    revision: str
    """Empty where nothing is kept."""


def load_encoder(settings: Settings, device: str) -> LoadedEncoder:
    """Reads weights. Raises `UnsupportedCheckpointError`."""
    path = settings.model.path
    dtype: str = settings.model.dtype
    if dtype == "auto":
        dtype = serving_dtype(CheckpointFiles.read(path))
    encoder = ENCODERS.load_encoder(path, device=device, dtype=dtype)
    features = FeatureEncoder(encoder, watched=settings.pruning.enabled, space=_space(settings))
    if not settings.visual_cache.enabled:
        return LoadedEncoder(features, "")
    return LoadedEncoder(features, features.revision(encoder_revision(path, encoder.family, dtype)))


def token_cache(settings: Settings, instance: str) -> VisualTokenCache | None:
    """None where nothing is kept. Raises `FolderInUseError` or `OSError` for an unusable disk."""
    kept = settings.visual_cache
    return VisualTokenCache(kept, instance) if kept.enabled else None


def encode_stage(
    encoder: LoadedEncoder, cache: VisualTokenCache | None, settings: Settings, threads: int
) -> CachedEncodeStage:
    """Begins to wait for pictures: call it on the event loop."""
    stage = EncodeStage(
        encoder.features,
        threads=threads,
        max_patches=settings.engine.max_encode_patches,
        max_pixels=settings.media.max_pixels,
    )
    return CachedEncodeStage(stage, cache, encoder.revision)


def prune_stage(settings: Settings) -> PruneStage:
    """Reads what questions are compared by. Raises `UnsupportedCheckpointError`."""
    if not settings.pruning.enabled:
        return PruneStage(installed(), None)
    questions = question_encoder(settings.model.path, _text_tower(settings))
    return PruneStage(installed(), questions.query)


def _space(settings: Settings) -> ContrastiveSpace | None:
    tower = _text_tower(settings)
    return None if tower is None else ContrastiveSpace.of(settings.model.path, tower)


def _text_tower(settings: Settings) -> Path | None:
    pruning = settings.pruning
    if not pruning.enabled or pruning.relevance == "language":
        return None
    return text_tower_of(settings.model.path, pruning.text_tower)
