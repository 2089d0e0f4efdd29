"""URLs of webhooks: no spelling leads to an address that is not public, and no message contains a password."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

from yarl import URL

from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.webhooks import WebhookParserOptions, parse_new_webhook_fields
from saldo.relay.webhooks.address_policy import is_public
from saldo.relay.webhooks.destinations import DestinationPolicy
from tests.fuzz.harnesses import text_of

READING = WebhookParserOptions(
    url_length_max=2000, users_max=10, destinations=DestinationPolicy(allow_http=True)
)


def check(data: bytes) -> None:
    """Check any text, and every spelling of the address that the first four bytes form."""
    text = text_of(data)
    address = int.from_bytes(data[:4].rjust(4, b"\0"), "big")
    for url in (
        text,
        f"http://{text}",
        f"https://{text}/",
        *(f"http://{host}/" for host in spellings(address)),
    ):
        _check_url(url)
    before, _, after = text.replace(SECRET, "").partition("|")
    for url in (
        f"https://user:{before}{SECRET}{after}@public.example/",
        f"https://{SECRET}:{before}@public.example{after}",
        f"{before}https://user:{SECRET}@{after}",
        f"https:user:{before}{SECRET}{after}@public.example",
    ):
        for fields in ({"url": url}, {"url": url, "secret": f"{before}{SECRET}{after}"}):
            _check_message(fields)


def _check_message(fields: dict[str, str]) -> None:
    """Check that a message doesn't repeat the rejected URL, because clients and proxies log problems."""
    try:
        parse_new_webhook_fields(fields, READING)
    except InvalidRequestError as error:
        told = "".join(f"{fault.field} {fault.message}" for fault in error.faults)
        assert SECRET not in f"{told} {error}", fields


def spellings(address: int) -> list[str]:
    """Return the spellings of an IPv4 address in inet_aton(3), browsers and IPv6."""
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


SECRET = "S3CR3T"

_FULL_WIDTH = {ord(digit): ord(digit) - ord("0") + 0xFF10 for digit in "0123456789"}


def _check_url(url: str) -> None:
    try:
        webhook = parse_new_webhook_fields({"url": url}, READING)
    except InvalidRequestError as error:
        assert [fault.field for fault in error.faults] == ["url"]
        return
    read = URL(webhook.url)
    assert read.scheme in {"http", "https"}
    assert read.user is None and read.password is None
    assert read.raw_host
    for address in _addresses(read.raw_host):
        assert is_public(address), (url, address)


def _addresses(host: str) -> list[str]:
    """Return the addresses that the system parses the host as; no name is resolved."""
    try:
        found = socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [str(address[0]) for *_, address in found]
