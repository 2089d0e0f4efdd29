"""The check of the addresses that a webhook may reach: only public addresses, in any notation.

The check is made on the address of each connection when it is opened (`saldo.relay.webhooks.http_sender`), so that a
name that resolves to another address the second time (DNS rebinding) does not bypass the check.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_SPECIAL_4: Final = tuple(
    map(
        IPv4Network,
        (
            "168.63.129.16/32",  # Azure's virtual public address, which answers inside its networks only
            "192.0.0.0/24",  # RFC 6890; 192.0.0.192 is a metadata service. Older Pythons call parts of it global
            "192.31.196.0/24",  # RFC 7535
            "192.52.193.0/24",  # RFC 7450
            "192.88.99.0/24",  # RFC 7526
            "192.175.48.0/24",  # RFC 7534
        ),
    )
)
"""Networks that contain no endpoint of the internet, although Python's standard library treats them as global, or did
so in older versions."""

_SPECIAL_6: Final = tuple(
    map(IPv6Network, ("2001:4:112::/48", "2620:4f:8000::/48"))  # RFC 7534 and 7535
)

_GLOBAL: Final = IPv6Network("2000::/3")
_TEREDO: Final = IPv6Network("2001::/32")
_DOCUMENTATION: Final = IPv6Network("3fff::/20")
"""Documentation network of RFC 9637, which Python 3.11 does not know yet."""
_LEAD_TO_IPV4: Final = (
    IPv6Network("::ffff:0:0/96"),  # mapped
    IPv6Network("::ffff:0:0:0/96"),  # translated
    IPv6Network("::/96"),  # compatible
    IPv6Network("64:ff9b::/96"),  # NAT64
)
_ISATAP: Final = 0x5EFE
"""Middle part of an ISATAP interface identifier, whose last four bytes are an IPv4 address."""


def is_public(text: str) -> bool:
    """Return whether a text is an address of the public internet.

    If an IPv6 address contains an IPv4 address, the IPv4 address must be public, too, because a gateway may deliver to
    it.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_public_ipv4(address)
    if any(address in network for network in _LEAD_TO_IPV4):
        return _is_public_ipv4(_extract_last_ipv4(address))
    if _is_isatap(address) and not _is_public_ipv4(_extract_last_ipv4(address)):
        return False
    if address.sixtofour is not None:
        return _is_public_ipv4(address.sixtofour)
    return (
        address in _GLOBAL
        and address not in _TEREDO
        and address not in _DOCUMENTATION
        and not any(address in network for network in _SPECIAL_6)
        and address.is_global
        and not address.is_multicast
    )


def is_within(text: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Return whether an address, or the IPv4 address that it contains, is in one of the networks."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    found: list[IPv4Address | IPv6Address] = [address]
    if isinstance(address, IPv6Address):
        if _is_isatap(address) or any(address in network for network in _LEAD_TO_IPV4):
            found.append(_extract_last_ipv4(address))
        if address.sixtofour is not None:
            found.append(address.sixtofour)
    return any(
        each.version == network.version and each in network
        for each in found
        for network in networks
    )


def _is_isatap(address: IPv6Address) -> bool:
    return (int(address) >> 32) & 0xFFFF == _ISATAP


def _extract_last_ipv4(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


def _is_public_ipv4(address: IPv4Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _SPECIAL_4)
    )
