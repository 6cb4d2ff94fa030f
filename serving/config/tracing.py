"""Section `tracing`: spans of requests, for OpenTelemetry."""

from pydantic import Field

from saccade.serving.config.section import Section


class TracingConfig(Section):
    """Where spans go; docs/tracing.md has the list of them."""

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Collector that takes OTLP over HTTP, such as "
        "http://collector:4318/v1/traces; null: no tracing.",
    )
    sample_ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the requests that are traced, where the client's traceparent does "
        "not say.",
    )
