"""Who a request is from by a signed token."""

import asyncio
import logging
import re
from pathlib import Path

import httpx2
import jwt

from saccade.serving.config.jwt import JwtConfig
from saccade.serving.config.keys import TENANT
from saccade.serving.errors import AuthenticationError

log = logging.getLogger(__name__)

REFRESH_INTERVAL_S = 60.0
FETCH_TIMEOUT_S = 10.0
MAX_JWKS_BYTES = 2**20


class JwksError(Exception):
    """The issuer's keys cannot be had; the message says from where, and why."""


class JwtTenants:
    """Checks tokens against the issuer's keys; call `refresh` before the first and now and then."""

    def __init__(self, config: JwtConfig) -> None:
        self._config = config
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._complaint = ""

    async def refresh(self) -> None:
        """Fetch the keys that the issuer has now.

        Raises:
            JwksError: the ones that were known go on.
        """
        source = self._config.jwks
        text = await (_fetched(source) if source.startswith("http") else _read(source))
        try:
            keys = jwt.PyJWKSet.from_json(text).keys
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            raise JwksError(f"{source}: not a set of public keys (JWKS)") from None
        self._keys = {key.key_id: key for key in keys if key.public_key_use in (None, "sig")}

    async def keep_fresh(self) -> None:
        """The same, where a failure is only logged, once."""
        try:
            await self.refresh()
            self._complaint = ""
        except JwksError as error:
            if str(error) != self._complaint:
                log.error("the issuer's keys are as they were: %s", error)
            self._complaint = str(error)

    def tenant_of(self, token: str) -> str:
        """Raises `AuthenticationError`, whose message says what a client may know."""
        config = self._config
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=list(config.algorithms),
                issuer=config.issuer,
                audience=config.audience,
                leeway=config.leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise AuthenticationError("The token has expired.", code="token_expired") from None
        except jwt.PyJWTError:
            raise AuthenticationError("The token is not valid here.") from None
        tenant = claims.get(config.tenant_claim)
        if not isinstance(tenant, str) or not re.fullmatch(TENANT, tenant):
            raise AuthenticationError(
                f"The token's claim `{config.tenant_claim}` does not name a tenant."
            )
        return tenant

    def _key(self, key_id: str | None) -> jwt.PyJWK:
        """A token that names no key is one of the only key."""
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if key_id not in self._keys:
            raise jwt.InvalidKeyError
        return self._keys[key_id]


async def _fetched(url: str) -> str:
    try:
        async with (
            asyncio.timeout(FETCH_TIMEOUT_S),
            httpx2.AsyncClient(follow_redirects=False) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != 200:
                raise JwksError(f"{url}: answered {response.status_code}")
            content = b""
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > MAX_JWKS_BYTES:
                    raise JwksError(f"{url}: more than {MAX_JWKS_BYTES} bytes")
    except TimeoutError:
        raise JwksError(f"{url}: no answer within {FETCH_TIMEOUT_S:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise JwksError(f"{url}: {str(error) or type(error).__name__}") from None
    return content.decode(errors="replace")


async def _read(path: str) -> str:
    try:
        return await asyncio.to_thread(Path(path).read_text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JwksError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
