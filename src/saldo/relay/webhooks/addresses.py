"""Which addresses a webhook may reach: those of the public internet, however they are written.

Held against the address of each connection as it is made (`saldo.relay.webhooks.sender`), so a name that
resolves to something else the second time gets nowhere.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final

_GLOBAL: Final = IPv6Network("2000::/3")
_TEREDO: Final = IPv6Network("2001::/32")
_DOCUMENTATION: Final = IPv6Network("3fff::/20")
"""RFC 9637; younger than what Python 3.11 knows of addresses."""
_LEAD_TO_IPV4: Final = (
    IPv6Network("::ffff:0:0/96"),  # mapped
    IPv6Network("::ffff:0:0:0/96"),  # translated
    IPv6Network("::/96"),  # compatible
    IPv6Network("64:ff9b::/96"),  # NAT64
)
_ISATAP: Final = 0x5EFE
"""In the middle of an interface identifier whose last four bytes are an IPv4 address."""


def is_public(text: str) -> bool:
    """Whether an address belongs to the public internet; what is no address doesn't.

    An IPv6 address that carries an IPv4 address is judged by that one, too: a gateway may deliver there.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_public_4(address)
    last = IPv4Address(int(address) & 0xFFFFFFFF)
    if any(address in network for network in _LEAD_TO_IPV4):
        return _is_public_4(last)
    if (int(address) >> 32) & 0xFFFF == _ISATAP and not _is_public_4(last):
        return False
    if address.sixtofour is not None:
        return _is_public_4(address.sixtofour)
    return (
        address in _GLOBAL
        and address not in _TEREDO
        and address not in _DOCUMENTATION
        and address.is_global
        and not address.is_multicast
    )


def _is_public_4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved
