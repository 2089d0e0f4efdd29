"""Addresses: no address outside of the public internet counts as public, in whatever form it is embedded."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from saldo.relay.webhooks.address_policy import is_public
from tests.fuzz.harnesses import text_of

NOT_PUBLIC_4 = [
    IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("168.63.129.16/32", "192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.175.48.0/24"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
]
"""Special-purpose and multicast networks from IANA's registries."""

NOT_PUBLIC_6 = [
    IPv6Network(network)
    for network in (
        *("::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:2::/48"),
        *("2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "ff00::/8"),
    )
]


def check(data: bytes) -> None:
    """Check any text, and the addresses that the first sixteen and the last four bytes form, also combined."""
    text = text_of(data)
    if is_public(text):
        _check_address(ip_address(text.partition("%")[0]))
    inner = IPv4Address(data[-4:].rjust(4, b"\0"))
    whole = IPv6Address(data[:16].ljust(16, b"\0"))
    made: list[IPv4Address | IPv6Address] = [inner, whole, *_embed_address(inner, whole)]
    for address in made:
        if is_public(str(address)):
            _check_address(address)
        if isinstance(address, IPv6Address):
            # Other spellings are the same address.
            assert is_public(address.exploded) == is_public(str(address))
            assert is_public(f"{address}%eth0") == is_public(str(address))
    if not is_public(str(inner)):
        assert not any(is_public(str(address)) for address in _embed_address(inner, whole))


def _embed_address(inner: IPv4Address, whole: IPv6Address) -> list[IPv6Address]:
    """Return IPv6 addresses whose packets a gateway may deliver to the IPv4 address."""
    number, network = int(inner), int(whole) >> 64 << 64
    return [
        IPv6Address(number),
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0xFFFF << 48 | number),
        IPv6Address(0x64FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80 | int(whole) & (1 << 80) - 1),
        IPv6Address(network | 0x5EFE << 32 | number),
        IPv6Address(network | 0x0200_5EFE << 32 | number),
    ]


def _check_address(address: IPv4Address | IPv6Address) -> None:
    if isinstance(address, IPv4Address):
        assert not any(address in network for network in NOT_PUBLIC_4), address
    else:
        assert not any(address in network for network in NOT_PUBLIC_6), address
