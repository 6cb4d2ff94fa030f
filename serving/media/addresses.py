"""Which hosts and addresses may be fetched from.

The check is on the address that a connection is about to be made to, so the spelling of the
host in the URL (decimal, hexadecimal, a name that resolves to 127.0.0.1) plays no part in it.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from saccade.serving.config.media import MediaConfig

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Written out rather than asked of `ipaddress`, whose answers differ between Python versions.
# IANA's special-purpose registries, plus multicast, plus what clouds answer on.
_CLOSED_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host agent: a public address that never leaves the host
        "169.254.0.0/16",  # link-local; metadata services of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_OPEN_V6: Final = ipaddress.IPv6Network("2000::/3")  # all global unicast there is
_CLOSED_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether the address is globally routable unicast."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)


def _innermost(address: Address) -> Address:
    """The IPv4 address that a mapped or a NAT64 address leads to; else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


@dataclass(frozen=True, slots=True)
class AddressRules:
    """The configuration's lists, parsed."""

    private_names: frozenset[str]
    private_networks: tuple[Network, ...]
    domains: tuple[str, ...]

    @classmethod
    def of(cls, config: MediaConfig) -> "AddressRules":
        names: set[str] = set()
        networks: list[Network] = []
        for entry in config.allowed_private_hosts:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                names.add(entry)
        return cls(frozenset(names), tuple(networks), tuple(config.allowed_domains))

    def allow_host(self, host: str) -> bool:
        """Whether `allowed_domains` lets this name through; says nothing about its addresses."""
        return not self.domains or any(
            host == domain or host.endswith(f".{domain}") for domain in self.domains
        )

    def allow_addresses(self, host: str, addresses: Iterable[str]) -> bool:
        """Whether every one of the host's addresses may be connected to."""
        return host in self.private_names or all(map(self._allow_address, addresses))

    def _allow_address(self, address: str) -> bool:
        try:
            parsed = _innermost(ipaddress.ip_address(address))
        except ValueError:
            return False
        return is_public(parsed) or any(parsed in network for network in self.private_networks)
