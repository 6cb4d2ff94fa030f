"""Get the bytes of a picture or clip: from the request itself, or over http(s) under limits."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import httpcore2
import httpx2
from opentelemetry.trace import SpanKind

from saccade.serving import tracing
from saccade.serving.config.media import MediaConfig, MediaKind
from saccade.serving.errors import InvalidRequestError, TooLargeError
from saccade.serving.media.addresses import AddressRules
from saccade.serving.media.connect import (
    CheckedBackend,
    ForbiddenAddressError,
    Resolver,
    SystemResolver,
)
from saccade.serving.media.inline import LiftedText, decode_inline

_A: Final = {"image": "An image", "video": "A video"}
_LARGEST_PORT: Final = 65_535
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# No compression, so that a body cannot be larger than what came over the wire.
_HEADERS: Final = (
    (b"Accept-Encoding", b"identity"),
    (b"User-Agent", b"saccade"),
)


class ByteBudget:
    """What the pictures of one request may still bring in, together."""

    def __init__(self, total_bytes: int, take_of_all: Callable[[int], None] | None = None) -> None:
        """`take_of_all` is told of all that comes, and raises when the whole system has enough."""
        self._total_bytes = total_bytes
        self._left_bytes = total_bytes
        self._take_of_all = take_of_all

    def take(self, num_bytes: int, param: str) -> None:
        if self._take_of_all is not None:
            self._take_of_all(num_bytes)
        self._left_bytes -= num_bytes
        if self._left_bytes < 0:
            raise TooLargeError(
                f"The images of the request have more than {self._total_bytes} bytes together.",
                param=param,
                code="images_too_large",
            )


class MediaFetcher:
    """Fetches pictures, `max_concurrent_fetches` at a time; to be closed.

    The pool of httpcore2 is used without httpx2's client above it: no proxies and no .netrc
    from the environment, no cookies, no decompression, no automatic redirects, and the seam
    where the address is pinned (`CheckedBackend`) is public.
    """

    def __init__(
        self,
        config: MediaConfig,
        *,
        resolve: Resolver | None = None,
        network: httpcore2.AsyncNetworkBackend | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._config = config
        self._rules = AddressRules.of(config)
        self._system_resolver = SystemResolver(config.max_concurrent_fetches)
        self._slots = asyncio.Semaphore(config.max_concurrent_fetches)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or httpcore2.default_ssl_context(),
            max_connections=config.max_concurrent_fetches,
            max_keepalive_connections=0,
            network_backend=CheckedBackend(
                self._rules,
                resolve or self._system_resolver,
                network or httpcore2.AnyIOBackend(),
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._pool.aclose()
        self._system_resolver.close()

    async def fetch(
        self, url: str, *, param: str, budget: ByteBudget, kind: MediaKind = "image"
    ) -> bytes:
        """The bytes behind an http(s) URL, a data URL or bare base64.

        Raises InvalidRequestError or TooLargeError, nothing else.
        """
        text: str | bytes = url.raw.strip() if isinstance(url, LiftedText) else url.strip()
        if _is_inline(text):
            limit = self._config.max_bytes_of(kind)
            data = await asyncio.to_thread(decode_inline, text, limit, param, kind)
            budget.take(len(data), param)
            return data
        url = text.decode("ascii") if isinstance(text, bytes) else text
        async with self._slots:  # waiting here is not held against the picture's host
            download = _Download(self._config, self._rules, self._pool, param, budget, kind)
            with tracing.span("fetch", kind=SpanKind.CLIENT, media=kind):
                return await download.run(url)


def _is_inline(url: str | bytes) -> bool:
    """A data URL or bare base64: anything that is not of another scheme."""
    head = url[:32] if isinstance(url, str) else url[:32].decode("ascii")
    scheme, colon, _ = head.partition(":")
    return not colon or scheme.lower() == "data"


@dataclass(frozen=True, slots=True)
class _Download:
    """One picture or clip on its way, over one hop or several."""

    config: MediaConfig
    rules: AddressRules
    pool: httpcore2.AsyncConnectionPool
    param: str
    budget: ByteBudget
    kind: MediaKind

    async def run(self, url: str) -> bytes:
        timeout_s = self.config.fetch_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._follow(url)
        except (TimeoutError, httpcore2.TimeoutException) as error:
            raise self._refusal(
                f"The {self.kind} did not arrive within {timeout_s:g} s.",
                f"{self.kind}_fetch_timeout",
            ) from error
        except ForbiddenAddressError as error:
            raise self._forbidden() from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            raise self._failed("its host could not be reached or broke off") from error

    async def _follow(self, url: str) -> bytes:
        target = self._parse(httpx2.URL(), url)
        for _ in range(self.config.max_redirects + 1):
            async with self.pool.stream(
                "GET",
                self._admit(target),
                headers=[
                    (b"Host", target.netloc),
                    (b"Accept", f"{self.kind}/*".encode()),
                    *_HEADERS,
                ],
                extensions={"timeout": {"connect": self.config.fetch_timeout_s}},
            ) as response:
                location = _header(response, b"location")
                if response.status not in _REDIRECTS or location is None:
                    return await self._read(response)
            target = self._parse(target, location.decode("utf-8", errors="replace"))
        raise self._failed(f"more than {self.config.max_redirects} redirects")

    def _parse(self, base: httpx2.URL, reference: str) -> httpx2.URL:
        try:
            url = base.join(reference)
        except (httpx2.InvalidURL, UnicodeError) as error:  # UnicodeError: lone surrogates
            raise self._malformed() from error
        if url.scheme not in ("http", "https"):
            raise self._refusal(
                f"{_A[self.kind]}'s URL has to be http, https, or data with base64.",
                "unsupported_url_scheme",
            )
        if url.userinfo:
            raise self._refusal(
                f"{_A[self.kind]}'s URL may not contain a user name or password.",
                f"{self.kind}_url_forbidden",
            )
        host = url.raw_host.decode("ascii").rstrip(".")
        port = 80 if url.port is None else url.port
        # "%" would be a percent-encoded name, or the zone of an IPv6 address.
        if not all(host.split(".")) or "%" in host or not 0 < port <= _LARGEST_PORT:
            raise self._malformed()
        return url.copy_with(host=host)

    def _admit(self, url: httpx2.URL) -> httpcore2.URL:
        if not self.rules.allow_host(url.raw_host.decode("ascii")):
            raise self._forbidden()
        return httpcore2.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )

    async def _read(self, response: httpcore2.Response) -> bytes:
        if response.status != HTTPStatus.OK:
            raise self._failed(f"its server answered with status {response.status}")
        if (_header(response, b"content-encoding") or b"identity").lower() != b"identity":
            raise self._failed("its server sent it compressed although asked not to")
        self._check_size(int(_header(response, b"content-length") or 0))
        body = bytearray()
        try:
            async for chunk in response.aiter_stream():
                self._check_size(len(body) + len(chunk))
                self.budget.take(len(chunk), self.param)
                body += chunk
            return bytes(body)
        finally:
            # A traceback that leads here may live on for long, and would keep what it had read.
            body.clear()

    def _check_size(self, num_bytes: int) -> None:
        limit = self.config.max_bytes_of(self.kind)
        if num_bytes > limit:
            raise TooLargeError(
                f"The {self.kind} has more than {limit} bytes.",
                param=self.param,
                code=f"{self.kind}_too_large",
            )

    def _refusal(self, message: str, code: str) -> InvalidRequestError:
        return InvalidRequestError(message, param=self.param, code=code)

    def _malformed(self) -> InvalidRequestError:
        return self._refusal(f"The {self.kind}'s URL is malformed.", f"invalid_{self.kind}_url")

    def _forbidden(self) -> InvalidRequestError:
        # Says nothing about the address, nor about where a redirect led.
        return self._refusal(
            f"The {self.kind}'s URL, or a redirect from it, leads to a host that this server may "
            "not fetch from.",
            f"{self.kind}_url_forbidden",
        )

    def _failed(self, why: str) -> InvalidRequestError:
        return self._refusal(
            f"The {self.kind} could not be fetched: {why}.", f"{self.kind}_fetch_failed"
        )


def _header(response: httpcore2.Response, name: bytes) -> bytes | None:
    return next((value for key, value in response.headers if key.lower() == name), None)
