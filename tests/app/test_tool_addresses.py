"""Which addresses may be connected to: none of anybody's own network, however it is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.tools.addresses import is_public

PRIVATE_V4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4", "255.255.255.255/32",
]  # fmt: skip
PRIVATE_V6 = ["::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001:db8::/32", "2002::/16",
              "2001::/32", "100::/64", "64:ff9b:1::/48"]  # fmt: skip
METADATA = ["169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "169.254.170.2"]


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1",
                                     "192.167.1.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808",
                                     "::ffff:8.8.8.8"])  # fmt: skip
def test_public_ones(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", METADATA)
def test_where_clouds_keep_their_secrets(address: str) -> None:
    assert not is_public(address)


@given(st.sampled_from(PRIVATE_V4), st.integers(min_value=0))
def test_no_private_ipv4_in_any_dress(network: str, number: int) -> None:
    inside = IPv4Network(network)
    address = inside[number % inside.num_addresses]
    assert not is_public(str(address))
    for text in (
        f"::ffff:{address}",
        str(IPv6Address(0xFFFF << 32 | int(address))),
        str(IPv6Address(0x64FF9B << 96 | int(address))),  # NAT64
        str(IPv6Address(0x2002 << 112 | int(address) << 80)),  # 6to4
        str(IPv6Address(int(address))),  # the oldest way to write one inside the other
        str(IPv6Address(0x20010000 << 96 | int(address) ^ 0xFFFFFFFF)),  # Teredo
    ):
        assert not is_public(text), text


@given(st.sampled_from(PRIVATE_V6), st.integers(min_value=0))
def test_no_private_ipv6(network: str, number: int) -> None:
    inside = IPv6Network(network)
    assert not is_public(str(inside[number % inside.num_addresses]))


@given(st.ip_addresses())
def test_never_more_than_the_standard_library_takes_for_global(address: IPv4Address | IPv6Address) -> None:
    """But for the way to IPv4 hosts where there is only IPv6, which some versions of it do not know."""
    if is_public(str(address)):
        inside = getattr(address, "ipv4_mapped", None) or address
        assert inside.is_global or inside in IPv6Network("64:ff9b::/96")
        assert not inside.is_multicast


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "fe80::1%eth0", "1.1.1.1%eth0",
                                  "[::1]", "8.8.8.8:80", "\uff18.8.8.8", "8.8.8.8 "])  # fmt: skip
def test_what_is_no_address_is_not_connected_to(text: str) -> None:
    assert not is_public(text)


def test_what_some_read_as_octal_is_no_address() -> None:
    assert not is_public("010.8.8.8")
