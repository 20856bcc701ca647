"""Which addresses are somebody's own: no request that others can steer may reach one. Pure.

What counts is the address that is connected to, after all names are resolved: a name may mean anything, and may mean
something else a moment later. The list is the IANA registries of special-purpose addresses, and what clouds put on
public ones.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared between providers and customers; metadata of one cloud
        "127.0.0.0/8",
        "168.63.129.16/32",  # the host beneath a virtual machine of one cloud
        "169.254.0.0/16",  # link-local; metadata of most clouds
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
_V6_GLOBAL: Final = IPv6Network("2000::/3")
"""All that is given out for use on the internet so far."""
_V6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocols' own, tunnels among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""Where there is no IPv4, all of it is reached through here."""


def is_public(text: str) -> bool:
    """Whether an address may be connected to. What is no address is not."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _V4)
    return _is_public_v6(address)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    inside = address.ipv4_mapped
    if inside is None and address in _NAT64:
        inside = IPv4Address(int(address) & 0xFFFFFFFF)
    if inside is not None:
        return is_public(str(inside))
    return address in _V6_GLOBAL and not any(address in network for network in _V6)
