"""URLs of webhooks: no spelling of an address that the system would read leads to one that is not public."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

from yarl import URL

from saldo.http.webhook_wire import WebhookReading, read_new_webhook
from saldo.http.wire import InvalidError
from saldo.relay.webhooks.addresses import is_public
from tests.fuzz.harnesses import text_of

READING = WebhookReading(url_length_max=2000, users_max=10, allow_private=False)


def check(data: bytes) -> None:
    """Any text; and every spelling of the address that the first four bytes are."""
    text = text_of(data)
    address = int.from_bytes(data[:4].rjust(4, b"\0"), "big")
    for url in (
        text,
        f"http://{text}",
        f"https://{text}/",
        *(f"http://{host}/" for host in spellings(address)),
    ):
        _check_url(url)


def spellings(address: int) -> list[str]:
    """How inet_aton(3), browsers and IPv6 write an IPv4 address."""
    a, b, c, d = address.to_bytes(4, "big")
    return [
        str(IPv4Address(address)),
        *(f"{address}", f"{address:#x}", f"0{address:o}", f"{address:#X}"),
        *(f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a}.{b}.{c}.{d}."),
        *(
            f"{a}.{address & 0xFFFFFF}",
            f"{a}.{b}.{address & 0xFFFF}",
            f"{a:#x}.{address & 0xFFFFFF}",
        ),
        *(f"[::ffff:{a}.{b}.{c}.{d}]", f"[::{a}.{b}.{c}.{d}]", f"[::ffff:{a}.{b}.{c}.{d}%25lo]"),
        f"[64:ff9b::{a}.{b}.{c}.{d}]",
        f"{a}.{b}.{c}.{d}".translate(_FULL_WIDTH),
        f"{a}。{b}。{c}。{d}",
        f"public.example@{a}.{b}.{c}.{d}",
        f"{a}.{b}.{c}.{d}\\@public.example",
        f"{a}.{b}.{c}.{d}#@public.example",
    ]


_FULL_WIDTH = {ord(digit): ord(digit) - ord("0") + 0xFF10 for digit in "0123456789"}


def _check_url(url: str) -> None:
    try:
        webhook = read_new_webhook({"url": url}, READING)
    except InvalidError as error:
        assert [fault.field for fault in error.faults] == ["url"]
        return
    read = URL(webhook.url)
    assert read.scheme in {"http", "https"}
    assert read.user is None and read.password is None
    assert read.raw_host
    for address in _addresses(read.raw_host):
        assert is_public(address), (url, address)


def _addresses(host: str) -> list[str]:
    """What the system reads the host as, if it is an address: no name is looked up."""
    try:
        found = socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [str(address[0]) for *_, address in found]
