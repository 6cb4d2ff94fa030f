"""Section `api`: the HTTP server, its limits, and who may use it."""

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from saccade.serving.config.jwt import JwtConfig
from saccade.serving.config.keys import TENANT, ApiKey, check_keys
from saccade.serving.config.section import Section
from saccade.serving.config.tls import TlsConfig


class ApiConfig(Section):
    """The HTTP server."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="0 takes any free port.")
    tls: TlsConfig | None = Field(
        default=None, description="HTTPS, with this certificate; null: plain HTTP."
    )
    keys: list[ApiKey] = Field(
        default_factory=list,
        description="API keys; without any, everybody is the tenant `default_tenant`.",
    )
    keys_file: Path | None = Field(
        default=None,
        description="File with more of them, a list in YAML or JSON. It is read again when it "
        "changes; an empty list lets nobody in.",
    )
    jwt: JwtConfig | None = Field(
        default=None, description="Tokens of an identity provider, instead of keys or beside them."
    )
    default_tenant: str = Field(
        default="default",
        description="The tenant of requests when there are no keys.",
        pattern=TENANT,
    )
    max_body_bytes: int = Field(
        default=64 * 2**20, ge=2**10, description="Largest request body; 413 above it."
    )
    max_bytes_in_flight: int = Field(
        default=512 * 2**20,
        ge=2**10,
        description="Bodies, pictures and clips of all requests together, as files; 429 above it.",
    )
    max_choices: int = Field(
        default=8, ge=1, description="Most answers of one request: `n` times the prompts."
    )
    max_running: int = Field(
        default=64, ge=1, description="Answers being worked on at once; more wait in the queue."
    )
    max_running_per_tenant: int | None = Field(
        default=None,
        ge=1,
        description="Answers of one tenant at once, waiting ones included; more get 429.",
    )
    max_queued: int = Field(
        default=256, ge=0, description="Requests that may wait; more get 503 at once."
    )
    queue_timeout_s: float = Field(
        default=30.0, gt=0, description="Longest wait in the queue; then 503 with Retry-After."
    )
    request_timeout_s: float = Field(
        default=600.0, gt=0, description="Deadline of a request, queue included; then 504."
    )
    keep_alive_s: float = Field(
        default=5.0,
        gt=0,
        description="A stream that is silent this long gets an SSE comment, for proxies.",
    )
    drain_timeout_s: float = Field(
        default=30.0,
        ge=0,
        description="How long running requests may go on after SIGTERM or Ctrl-C.",
    )

    @model_validator(mode="after")
    def _keys_are_distinct(self) -> "ApiConfig":
        check_keys(self.keys)
        return self

    @field_validator("keys_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path is not None else None

    @property
    def asks_for_keys(self) -> bool:
        """Or for a token."""
        return bool(self.keys) or self.keys_file is not None or self.jwt is not None

    @model_validator(mode="after")
    def _one_body_fits(self) -> "ApiConfig":
        if self.max_body_bytes > self.max_bytes_in_flight:
            raise ValueError(
                f"max_body_bytes ({self.max_body_bytes}) is more than max_bytes_in_flight "
                f"({self.max_bytes_in_flight}): such a body could never arrive; lower the first "
                "or raise the second"
            )
        return self

    @model_validator(mode="after")
    def _one_request_fits(self) -> "ApiConfig":
        if self.max_choices > self.max_running:
            raise ValueError(
                f"max_choices ({self.max_choices}) is more than max_running ({self.max_running}): "
                "such a request could never start; lower the first or raise the second"
            )
        return self
