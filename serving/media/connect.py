"""Connections that go to the address that was checked, and to no other.

The pool above asks for a connection to a host name; here the name is resolved once, all its
addresses are checked, and the socket is opened to one of these very addresses. There is no
second look-up in which the answer could have changed. Host header, SNI and certificate
verification stay with the name, since they belong to the layers above.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpcore2

from saccade.serving.media.addresses import AddressRules

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

_MOST_ADDRESSES_TRIED = 4


class ForbiddenAddressError(Exception):
    """The host has an address that may not be fetched from."""


class SystemResolver:
    """getaddrinfo in threads of its own.

    A name server that does not answer holds a thread far beyond the time limit of a fetch; in
    the loop's shared threads that would hold up everything else that runs there.
    """

    def __init__(self, max_threads: int) -> None:
        self._threads = ThreadPoolExecutor(max_threads, thread_name_prefix="media-dns")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._look_up, host, port
        )
        return list(dict.fromkeys(found))

    @staticmethod
    def _look_up(host: str, port: int) -> list[str]:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves, checks, and connects through `inner` by address."""

    def __init__(
        self, rules: AddressRules, resolve: Resolver, inner: httpcore2.AsyncNetworkBackend
    ) -> None:
        self._rules = rules
        self._resolve = resolve
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._checked_addresses(host, port)
        share_s = None if timeout is None else timeout / len(addresses)
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    address, port, share_s, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def _checked_addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:  # UnicodeError: a label of more than 63 letters
            raise httpcore2.ConnectError("the host name does not resolve") from error
        if not addresses:
            raise httpcore2.ConnectError("the host name does not resolve")
        if not self._rules.allow_addresses(host, addresses):
            raise ForbiddenAddressError(host)
        return addresses[:_MOST_ADDRESSES_TRIED]
