"""The configuration tree: one pydantic model from YAML, `SACCADE_…` variables and flags."""

from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from saccade.serving.config.api import ApiConfig
from saccade.serving.config.instances import ClusterConfig, EngineConfig, InstanceGroup
from saccade.serving.config.media import MediaConfig
from saccade.serving.config.prefix_index import PrefixIndexConfig
from saccade.serving.config.pruning import PruningConfig
from saccade.serving.config.section import Section
from saccade.serving.config.tracing import TracingConfig
from saccade.serving.config.visual_cache import VisualCacheConfig

# Set by `serving.config.load` while it builds the tree.
file_values: ContextVar[Mapping[str, Any]] = ContextVar("file_values", default={})  # noqa: B039


class ModelConfig(Section):
    """Which checkpoint is served, and under which name."""

    path: Path = Field(
        description="Folder of the checkpoint (Hugging Face layout); relative to the working "
        "directory."
    )
    served_name: str = Field(
        default="", description="Name in the API; the folder's name when empty."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Number format of the weights while serving."
    )
    max_model_len: int = Field(
        default=2048, ge=64, description="Longest prompt plus answer, in tokens."
    )
    chat_template: Path | None = Field(
        default=None, description="Jinja file instead of the checkpoint's own template."
    )
    tool_call_parser: str | None = Field(
        default="hermes",
        description="vLLM's parser for tool calls in the answer; null switches `tools` auto off.",
    )
    create_if_missing: bool = Field(
        default=False,
        description="Write the small built-in checkpoint to `path` when nothing is there.",
    )

    @field_validator("path", "chat_template")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """Instances may have another working directory."""
        return path.expanduser().absolute() if path is not None else None

    @property
    def name(self) -> str:
        return self.served_name or self.path.name


class LogConfig(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is written."
    )
    format: Literal["text", "json"] = Field(
        default="text", description="`json` writes one object a line, for log collectors."
    )


class Settings(BaseSettings):
    """Everything that `saccade serve` can be told."""

    model_config = SettingsConfigDict(
        env_prefix="SACCADE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
    )

    model: ModelConfig = Field(description="The checkpoint.")
    instances: dict[str, InstanceGroup] = Field(
        description="Groups of equal instances by name; `llm` with 2 replicas gives llm-0, llm-1.",
        min_length=1,
    )
    engine: EngineConfig = Field(
        default_factory=EngineConfig, description="vLLM, the same for every LLM instance."
    )
    api: ApiConfig = Field(default_factory=ApiConfig, description="The HTTP server.")
    media: MediaConfig = Field(
        default_factory=MediaConfig, description="Fetching and checking pictures."
    )
    cluster: ClusterConfig = Field(
        default_factory=ClusterConfig, description="Ray, start-up and shutdown."
    )
    visual_cache: VisualCacheConfig = Field(
        default_factory=VisualCacheConfig, description="Encoder outputs that are kept."
    )
    pruning: PruningConfig = Field(
        default_factory=PruningConfig, description="Fewer visual tokens for the LLM."
    )
    prefix_index: PrefixIndexConfig = Field(
        default_factory=PrefixIndexConfig,
        description="What the gateway knows of the LLM instances' prefix caches.",
    )
    log: LogConfig = Field(default_factory=LogConfig, description="Logging.")
    tracing: TracingConfig = Field(
        default_factory=TracingConfig, description="Spans of requests, for OpenTelemetry."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags over environment over file; no .env and no secrets folder."""
        return init_settings, env_settings, _FileSource(settings_cls)

    @model_validator(mode="after")
    def _every_stage_has_an_instance(self) -> "Settings":
        resident = {role for group in self.instances.values() for role in group.roles}
        missing = [role for role in ("prefill", "decode") if role not in resident]
        if missing:
            raise ValueError(
                f"instances: no group has the role {' or '.join(missing)}, so nothing could be "
                "answered; add it to the `roles` of a group"
            )
        return self

    @model_validator(mode="after")
    def _object_store_has_room(self) -> "Settings":
        shared, store = self.visual_cache.shared_bytes, self.cluster.object_store_bytes
        if self.visual_cache.enabled and self.cluster.address is None and shared > store // 2:
            raise ValueError(
                f"visual_cache.shared_bytes ({shared}) is more than half of "
                f"cluster.object_store_bytes ({store}), which also holds what is on its way; "
                "lower the first or raise the second"
            )
        return self

    @property
    def serves_pictures(self) -> bool:
        return any("encode" in group.roles for group in self.instances.values())

    @property
    def takes_visual_tokens(self) -> bool:
        """From an encode instance, or from clients."""
        return self.serves_pictures or self.media.accept_image_embeds


class _FileSource(PydanticBaseSettingsSource):
    """The values of the YAML file that is being loaded."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return file_values.get().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(file_values.get())
