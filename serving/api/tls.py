"""Certificates of the HTTP server, replaced while it runs."""

import logging
import ssl
from pathlib import Path

from saccade.serving.config.tls import TlsConfig

log = logging.getLogger(__name__)


class TlsError(Exception):
    """Certificate or key cannot be used; the message names the file."""


class ServerTls:
    """A TLS context that follows its files."""

    def __init__(self, config: TlsConfig) -> None:
        """Raises `TlsError`."""
        self._config = config
        self._files = _contents(config)
        self._complaint = ""
        self.context = _context(config)

    def reload(self) -> None:
        """Connections from now on get the certificate that is there now; one that cannot be used
        changes nothing."""
        try:
            files = _contents(self._config)
            if files == self._files:
                return
            _context(self._config)  # tried first: half a chain must not get into use
            self.context.load_cert_chain(self._config.certificate, self._config.key)
        except TlsError as error:
            if str(error) != self._complaint:
                log.error("the certificate is as it was: %s", error)
            self._complaint = str(error)
            return
        self._files, self._complaint = files, ""
        log.info("%s was read again", self._config.certificate)


def _context(config: TlsConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(config.certificate, config.key, password=_no_passphrase)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(
            f"{config.certificate} and {config.key}: no certificate with its key in PEM "
            f"({_reason(error)})"
        ) from None
    if config.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(config.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise TlsError(
                f"{config.client_ca}: no certificates of authorities in PEM ({_reason(error)})"
            ) from None
    return context


def _contents(config: TlsConfig) -> tuple[bytes, bytes]:
    return _read(config.certificate), _read(config.key)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)


def _no_passphrase() -> str:
    """Else OpenSSL would ask for one on the terminal."""
    return ""
