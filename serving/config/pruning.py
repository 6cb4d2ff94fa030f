"""Section `pruning`: how many visual tokens a language model is given, and who may say so."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from saccade.serving.config.section import Section

Method = dict[str, Any]
"""`method`, and the method's options: `{"method": "cdpruner", "keep": 64}`."""


class PruningConfig(Section):
    """Pruning of visual tokens between encode and prefill; docs/pruning.md has the methods."""

    enabled: bool = Field(
        default=True,
        description="Off: requests cannot prune, and towers are not watched for it.",
    )
    default: Method | list[Method] = Field(
        default_factory=list,
        description="For requests that say nothing: one method, or several in a row, each a "
        "mapping with `method` and `keep` or `keep_ratio`. Empty: nothing is pruned.",
    )
    methods: list[str] | None = Field(
        default=None, description="Methods that requests may name; all if not set."
    )
    min_keep_ratio: float = Field(
        default=0.0, ge=0, le=1, description="Share of visual tokens that a request must keep."
    )
    question: Literal["with_picture", "latest"] = Field(
        default="with_picture",
        description="What methods that look at the question look at: the text of the message that "
        "brought the picture, so that later turns find their KV cache; or of the last user "
        "message, so that each turn is given the tokens for its own question.",
    )
    text_tower: Path | None = Field(
        default=None,
        description="CLIP checkpoint whose text tower belongs to the model's vision tower; if not "
        "set, the checkpoint's folder text_tower, or else the language model's embeddings.",
    )
    relevance: Literal["auto", "language"] = Field(
        default="auto",
        description="`language`: compare questions by the language model's embeddings, even where "
        "there is a text tower.",
    )
    quality: Literal["exact", "adaptive"] = Field(
        default="exact",
        description="`adaptive`: while requests have to wait for admission, fewer tokens are kept "
        "than they ask for, down to `min_adaptive_ratio`; the response says so.",
    )
    min_adaptive_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Of what was asked for: the least that is kept under overload.",
    )

    @field_validator("text_tower")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """Instances may have another working directory."""
        return path.expanduser().absolute() if path is not None else None

    @model_validator(mode="after")
    def _off_is_off(self) -> "PruningConfig":
        if not self.enabled and self.default:
            raise ValueError("default prunes, but enabled is false; leave one of them out")
        return self
