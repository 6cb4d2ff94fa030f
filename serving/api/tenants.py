"""Who a request is from, and how much of the server that may take."""

import contextlib
import hashlib
import hmac
import logging
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from saccade.serving.api.asgi import Scope, header
from saccade.serving.api.jwt import JwtTenants
from saccade.serving.config.api import ApiConfig
from saccade.serving.config.keys import ApiKey, KeysFileError, check_keys, parse_keys
from saccade.serving.errors import AuthenticationError, InvalidRequestError, TenantBusyError

log = logging.getLogger(__name__)


class Tenants:
    """The table of API keys, and what runs for each tenant."""

    def __init__(self, config: ApiConfig) -> None:
        """Raises `KeysFileError` when there is a file of keys that cannot be used."""
        self._config = config
        self._open = not config.asks_for_keys
        self._text = ""
        self._complaint = ""
        self._by_digest: list[tuple[bytes, str]] = []
        self._limits: dict[str, int | None] = {}
        self.jwt = None if config.jwt is None else JwtTenants(config.jwt)
        self._running: defaultdict[str, int] = defaultdict(int)
        self.own_key = secrets.token_urlsafe(32)
        """Of the server itself, for its warm-up; it never leaves this process."""
        if config.keys_file is None:
            self._use(())
        else:
            self._load(config.keys_file)

    def tenant_of(self, scope: Scope) -> str:
        """The tenant whose key the request carries; one default tenant where there are no keys.

        Raises:
            AuthenticationError: no key, an unknown one, or a token that does not count.
        """
        if self._open:
            return self._config.default_tenant
        scheme, _, key = (header(scope, b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise AuthenticationError(
                "No API key was given. Send it as `Authorization: Bearer <key>`.",
                code="missing_api_key",
            )
        digest = _digest(key.strip())
        # All of them, so that the time does not tell which key was close.
        found = [tenant for known, tenant in self._by_digest if hmac.compare_digest(known, digest)]
        if found:
            return found[0]
        if self.jwt is not None and key.count(".") == 2:
            return self.jwt.tenant_of(key.strip())
        raise AuthenticationError("The API key is not known.")

    @contextlib.contextmanager
    def room(self, tenant: str, num_answers: int) -> Iterator[None]:
        """Hold room for a tenant's answers, while they wait and while they are worked on.

        Raises:
            InvalidRequestError: the tenant may never have so many at once.
            TenantBusyError: it has too many at this moment.
        """
        limit = self._limits.get(tenant) or self._config.max_running_per_tenant
        if limit is not None and num_answers > limit:
            raise InvalidRequestError(
                f"{num_answers} answers were asked for; this key has room for {limit} at once.",
                param="n",
                code="too_many_choices",
            )
        if limit is not None and self._running[tenant] + num_answers > limit:
            raise TenantBusyError(
                f"The answers that are being made for this key are as many as it may have: {limit}."
            )
        self._running[tenant] += num_answers
        try:
            yield
        finally:
            self._running[tenant] -= num_answers
            if not self._running[tenant]:
                del self._running[tenant]

    def reload(self) -> None:
        """Take over what the file of keys says now; as long as it cannot be used, the keys that
        were read before go on."""
        path = self._config.keys_file
        if path is None:
            return
        try:
            if self._load(path):
                log.info("%s was read again: %d keys", path, len(self._by_digest) - 1)
            self._complaint = ""
        except KeysFileError as error:
            if str(error) != self._complaint:
                log.error("API keys are as they were: %s", error)
            self._complaint = str(error)

    def _load(self, path: Path) -> bool:
        """False when the file is as it was."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise KeysFileError(f"{path}: {reason}") from None
        if text == self._text:
            return False
        self._use(parse_keys(text, path))
        self._text = text
        return True

    def _use(self, keys: Iterable[ApiKey]) -> None:
        entries = [*self._config.keys, *keys]
        try:
            check_keys(entries)
        except ValueError as error:
            raise KeysFileError(f"{self._config.keys_file} and api.keys: {error}") from None
        self._by_digest = [(entry.digest, entry.tenant) for entry in entries]
        self._by_digest.append((_digest(self.own_key), self._config.default_tenant))
        self._limits = {entry.tenant: entry.max_running for entry in entries}


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
