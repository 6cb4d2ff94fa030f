import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.serving.config.media import MediaConfig
from saccade.serving.media.addresses import AddressRules, is_public

PUBLIC = ["8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111"]
CLOSED = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
]


def rules(*private: str, domains: tuple[str, ...] = ()) -> AddressRules:
    return AddressRules.of(
        MediaConfig(allowed_private_hosts=list(private), allowed_domains=list(domains))
    )


@pytest.mark.parametrize("address", [*PUBLIC, "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert rules().allow_addresses("host", [address])


@pytest.mark.parametrize("address", CLOSED)
def test_all_others_are_refused(address: str) -> None:
    assert not rules().allow_addresses("host", [address])
    assert not rules().allow_addresses("host", ["8.8.8.8", address])
    assert not rules().allow_addresses("host", [address, "8.8.8.8"])


@settings(deadline=None)
@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast:
        assert not is_public(address)


def test_an_allowed_address_or_network_opens_itself_and_no_more() -> None:
    some = rules("127.0.0.1", "10.1.0.0/16", "::1")
    assert some.allow_addresses("any", ["127.0.0.1", "10.1.255.1", "::1", "8.8.8.8"])
    assert some.allow_addresses("any", ["::ffff:127.0.0.1"])
    for address in ("127.0.0.2", "10.2.0.1", "::2"):
        assert not some.allow_addresses("any", [address])


def test_an_allowed_name_opens_whatever_it_resolves_to_but_no_other_name() -> None:
    some = rules("Images.Internal")
    assert some.allow_addresses("images.internal", ["10.0.0.1", "fd00::1"])
    assert not some.allow_addresses("other.internal", ["10.0.0.1"])
    assert not some.allow_addresses("x.images.internal", ["10.0.0.1"])


def test_domains_let_through_themselves_and_what_is_below_them() -> None:
    some = rules(domains=("example.com",))
    assert some.allow_host("example.com")
    assert some.allow_host("cdn.example.com")
    for host in ("badexample.com", "example.com.evil.org", "com", "example.org"):
        assert not some.allow_host(host)
    assert rules().allow_host("anything.at.all")
