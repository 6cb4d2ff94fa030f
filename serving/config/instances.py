"""Sections `instances`, `engine` and `cluster`: what runs where."""

from pydantic import Field, PositiveFloat, field_validator

from saccade.scheduler.cluster import Role
from saccade.serving.config.section import Section


class InstanceGroup(Section):
    """A number of equal instances."""

    roles: list[Role] = Field(
        description="Stages whose weights the instance keeps resident, so that it may serve them.",
        min_length=1,
    )
    replicas: int = Field(default=1, ge=1, le=1024, description="How many instances.")
    cpus: float = Field(default=1.0, gt=0, description="CPU cores to reserve in Ray, each.")
    gpus: float = Field(
        default=0.0, ge=0, description="GPUs to reserve in Ray, each; fractions share one."
    )
    resources: dict[str, PositiveFloat] = Field(
        default_factory=dict,
        description="Custom Ray resources to reserve, each; on a running cluster they say on which "
        "nodes the instances may be.",
    )
    threads: int = Field(default=1, ge=1, description="CPU threads for tensor operations, each.")

    @field_validator("roles")
    @classmethod
    def _roles_are_distinct(cls, roles: list[Role]) -> list[Role]:
        if len(set(roles)) != len(roles):
            raise ValueError("a role is named twice")
        return roles


class EngineConfig(Section):
    """vLLM, the same for every LLM instance."""

    block_size: int = Field(
        default=32,
        ge=1,
        description="Tokens in a KV block; short prompts hit the prefix cache only in whole blocks",
    )
    prefix_caching: bool = Field(
        default=True,
        description="Keep the KV of prompts for those that begin alike; off: each is computed.",
    )
    kv_cache_bytes: int = Field(
        default=256 * 2**20, ge=2**20, description="KV cache of one instance."
    )
    max_num_seqs: int = Field(default=64, ge=1, description="Sequences in one batch.")
    kv_lease_s: int = Field(
        default=30,
        ge=3,
        description="How long a finished prefill is held for the instance that decodes it.",
    )
    keep_positions: bool = Field(
        default=False,
        description="Visual tokens that are kept when a picture is pruned keep their positions "
        "also in models that count one by one (LLaVA); otherwise those behind move up. M-RoPE "
        "models always keep them.",
    )
    max_encode_patches: int = Field(
        default=32_768,
        ge=1,
        description="Patches of all pictures and clips that the vision tower encodes together; one "
        "with more is encoded alone. A picture of LLaVA-1.5 has 576, one of 1080p has 10,764 in "
        "Qwen2.5-VL.",
    )


class ClusterConfig(Section):
    """Ray, start-up and shutdown."""

    address: str | None = Field(
        default=None, description="A running Ray cluster; null starts one on this machine."
    )
    object_store_bytes: int = Field(
        default=256 * 2**20,
        ge=80 * 2**20,
        description="Shared memory for visual tokens, when Ray is started here.",
    )
    start_timeout_s: float = Field(
        default=300.0, gt=0, description="An instance that is not ready by then is a failure."
    )
    stop_timeout_s: float = Field(
        default=45.0, gt=0, description="An instance that has not stopped by then is killed."
    )
    stage_timeout_s: float = Field(
        default=60.0, gt=0, description="Deadline of encoding, and of prefilling, one request."
    )
