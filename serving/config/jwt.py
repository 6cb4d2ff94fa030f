"""Section `api.jwt`: tokens of an identity provider in the place of API keys."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from saccade.serving.config.section import Section

# Public keys alone: with a shared secret, whoever can check a token could also make one.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]

_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)[:/]")


class JwtConfig(Section):
    """Bearer tokens that are signed JWTs, as OIDC providers issue them."""

    issuer: str = Field(description="What the claim `iss` has to be.", min_length=1)
    audience: str = Field(description="What the claim `aud` has to be, or contain.", min_length=1)
    jwks: str = Field(
        description="The issuer's public keys (JWKS): an https URL, or a file. Read again every "
        "minute.",
        min_length=1,
    )
    tenant_claim: str = Field(
        default="sub", description="Claim that holds the tenant's name.", min_length=1
    )
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = Field(
        default=["RS256", "ES256"], description="Signatures that are accepted."
    )
    leeway_s: float = Field(
        default=30.0, ge=0, le=600, description="How far the issuer's clock may be off."
    )

    @field_validator("jwks")
    @classmethod
    def _trustworthy(cls, jwks: str) -> str:
        if jwks.startswith("http://") and not _LOOPBACK.match(jwks):
            raise ValueError("keys that come without TLS could be anybody's; use https, or a file")
        if jwks.startswith(("http://", "https://")):
            return jwks
        return str(Path(jwks).expanduser().absolute())
