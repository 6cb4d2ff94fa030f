"""Section `api.tls`: HTTPS of the gateway itself."""

from pathlib import Path

from pydantic import Field, field_validator

from saccade.serving.config.section import Section


class TlsConfig(Section):
    """Files in PEM; they are read again when they change."""

    certificate: Path = Field(description="Certificate, with those between it and the authority.")
    key: Path = Field(description="Its private key, without a passphrase.")
    client_ca: Path | None = Field(
        default=None,
        description="Mutual TLS: clients, probes too, need a certificate of one of these "
        "authorities.",
    )

    @field_validator("certificate", "key", "client_ca")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path is not None else None
