"""What serving a checkpoint will take, computed from its files before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from saccade.encoders.base import Family, UnsupportedCheckpointError
from saccade.encoders.memory import BYTES_PER_NUMBER, Parameters, count_parameters, serving_dtype
from saccade.encoders.published import Published
from saccade.encoders.registry import ENCODERS
from saccade.scheduler.cluster import Role
from saccade.serving.config.settings import Settings

MEGAPIXEL_SIDE = 1000
SMALL_BYTES = 10**8


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """Of a checkpoint in one number format."""

    family: Family
    dtype: str
    parameters: Parameters

    @property
    def vision_bytes(self) -> int:
        return self.parameters.vision * BYTES_PER_NUMBER[self.dtype]

    @property
    def language_bytes(self) -> int:
        return self.parameters.language * BYTES_PER_NUMBER[self.dtype]

    @property
    def kv_bytes_per_token(self) -> int:
        return self.family.language.kv_bytes_per_token(BYTES_PER_NUMBER[self.dtype])

    @property
    def tokens_per_megapixel(self) -> int | None:
        """Of a square picture of one megapixel; None for a model without pictures."""
        if not self.family.support.pictures:
            return None
        return self.family.picture(MEGAPIXEL_SIDE, MEGAPIXEL_SIDE).num_tokens

    @property
    def weights_bytes(self) -> Mapping[Role, int]:
        """What an instance keeps resident for each role that it may take."""
        return {
            "encode": self.vision_bytes,
            "prefill": self.language_bytes,
            "decode": self.language_bytes,
        }


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One group of equal instances; bytes are for each of them."""

    name: str
    roles: tuple[Role, ...]
    replicas: int
    weights_bytes: int
    kv_cache_bytes: int
    kv_cache_tokens: int


def sizes_of_published(one: Published) -> ModelSizes:
    """Of a checkpoint that is known by its configuration alone, as it is published."""
    parameters = Parameters(one.vision_parameters, one.language_parameters)
    return ModelSizes(ENCODERS.family_of(one.files, one.name), "bfloat16", parameters)


def sizes_of_checkpoint(checkpoint: Path, dtype: str = "auto") -> ModelSizes:
    """Raises `UnsupportedCheckpointError`, with the remedy."""
    family = ENCODERS.family(checkpoint)
    if dtype == "auto":
        dtype = serving_dtype(family.files)
    if dtype not in BYTES_PER_NUMBER:
        raise UnsupportedCheckpointError(
            f"{checkpoint}: weights in {dtype} cannot be served as they are; set model.dtype to "
            f"one of {', '.join(BYTES_PER_NUMBER)}"
        )
    return ModelSizes(family, dtype, count_parameters(checkpoint, family))


def plan(settings: Settings, sizes: ModelSizes) -> list[GroupPlan]:
    """Raises `UnsupportedCheckpointError` where instances and checkpoint do not fit together."""
    if settings.serves_pictures and not sizes.family.support.pictures:
        raise UnsupportedCheckpointError(
            f"{settings.model.path} is a language model without a vision tower, so it has no use "
            "for an encode instance; leave the role `encode` out of `instances`"
        )
    if settings.media.accept_image_embeds and not sizes.family.support.pictures:
        raise UnsupportedCheckpointError(
            f"{settings.model.path} is a language model without pictures, so it has no use for "
            "`image_embeds`; switch media.accept_image_embeds off"
        )
    groups = []
    for name, group in settings.instances.items():
        has_llm = bool({"prefill", "decode"} & set(group.roles))
        weights = (sizes.vision_bytes if "encode" in group.roles else 0) + (
            sizes.language_bytes if has_llm else 0
        )
        kv_cache = settings.engine.kv_cache_bytes if has_llm else 0
        tokens = kv_cache // sizes.kv_bytes_per_token
        groups.append(
            GroupPlan(name, tuple(group.roles), group.replicas, weights, kv_cache, tokens)
        )
    return groups


def in_words(num_bytes: int) -> str:
    """In gigabytes, or megabytes where that would be nothing."""
    if num_bytes < SMALL_BYTES:
        return f"{num_bytes / 1e6:.2f} MB"
    return f"{num_bytes / 1e9:.2f} GB"
