"""Section `visual_cache`: encoder outputs that are kept for the next request."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from saccade.serving.config.section import Section


class VisualCacheConfig(Section):
    """Visual tokens that are kept; docs/caching.md says where."""

    enabled: bool = Field(
        default=True,
        description="Off: each request's pictures are encoded, whatever was encoded before.",
    )
    shared_bytes: int = Field(
        default=64 * 2**20,
        ge=0,
        description="Ray's object store, for the whole system; 0 keeps nothing there. Part of "
        "cluster.object_store_bytes.",
    )
    memory_bytes: int = Field(
        default=128 * 2**20, ge=0, description="Memory of each encode instance; 0 keeps nothing."
    )
    disk_bytes: int = Field(
        default=0, ge=0, description="Disk of each encode instance; 0 keeps nothing there."
    )
    disk_folder: Path | None = Field(
        default=None,
        description="Folder on a local disk for `disk_bytes`; each instance has one in it. It "
        "survives restarts, and holds what pictures of clients were made into.",
    )
    eviction: Literal["gdsf", "lru"] = Field(
        default="gdsf",
        description="What goes first when a budget is full: `gdsf` weighs the time that encoding "
        "took, and uses, against size; `lru` takes the least recently used.",
    )

    @field_validator("disk_folder")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """Instances may have another working directory."""
        return path.expanduser().absolute() if path is not None else None

    @model_validator(mode="after")
    def _disk_has_a_folder(self) -> "VisualCacheConfig":
        if self.disk_bytes and self.disk_folder is None:
            raise ValueError(
                f"disk_bytes is {self.disk_bytes}, but there is no disk_folder; name a folder on "
                "a local disk, or set disk_bytes to 0"
            )
        return self
