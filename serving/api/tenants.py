"""Who a request is from."""

import hashlib
import hmac

from saccade.serving.api.asgi import Scope, header
from saccade.serving.config.api import ApiConfig
from saccade.serving.errors import AuthenticationError


class Tenants:
    """The table of API keys."""

    def __init__(self, config: ApiConfig) -> None:
        self._default = None if config.keys else config.default_tenant
        self._by_digest = [
            (_digest(entry.key.get_secret_value()), entry.tenant) for entry in config.keys
        ]

    def tenant_of(self, scope: Scope) -> str:
        """The tenant whose key the request carries; one default tenant where there are no keys.

        Raises:
            AuthenticationError: no key, or an unknown one.
        """
        if self._default is not None:
            return self._default
        scheme, _, key = (header(scope, b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise AuthenticationError(
                "No API key was given. Send it as `Authorization: Bearer <key>`.",
                code="missing_api_key",
            )
        digest = _digest(key.strip())
        # All of them, so that the time does not tell which key was close.
        found = [tenant for known, tenant in self._by_digest if hmac.compare_digest(known, digest)]
        if not found:
            raise AuthenticationError("The API key is not known.")
        return found[0]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
