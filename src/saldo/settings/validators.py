"""Types of settings, and functions that parse and check their values."""

from __future__ import annotations

from datetime import tzinfo
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator

from saldo.encoding.urls import parse_strict_url


def split_list(text: str) -> tuple[str, ...]:
    """Split a list that is separated by commas. Empty parts are left out."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_networks(text: str | None) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse networks that are separated by commas.

    Raises:
        ValueError: A part is not a network.
    """
    return tuple(ip_network(part) for part in split_list(text or ""))


def check_networks(text: str | None) -> str | None:
    """Return the text if it is a list of networks, and raise ValueError otherwise."""
    try:
        parse_networks(text)
    except ValueError:
        raise ValueError("expected networks such as 10.0.0.0/8,2001:db8::/32") from None
    return text


def parse_scheme(url: str) -> str:
    """Return a URL's scheme, without urllib, whose error messages can contain a part of the password."""
    return url.partition("://")[0].lower()


def check_unambiguous_url(url: str | None) -> str | None:
    """Reject a URL that a library could split at the wrong place, and then print a part of the password as a port or a
    host."""
    if url is not None:
        parse_strict_url(url)
    return url


def is_installed(package: str) -> bool:
    """Return whether a package can be imported."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False  # its parent package is not installed


def parse_zone(name: str | None) -> tzinfo | None:
    """Return the time zone with an IANA name. None stays None, and means the zone of the machine."""
    return None if name is None else ZoneInfo(name)


def _check_zone(name: str | None) -> str | None:
    try:
        parse_zone(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("expected an IANA zone such as Europe/Berlin or UTC") from None
    return name


def _replace_empty_with_none(value: object) -> object:
    """Replace an empty value by None: ``SALDO_X=`` in a `.env` file unsets a setting."""
    return None if value == "" else value


Unset = BeforeValidator(_replace_empty_with_none)
"""Annotation of an optional setting: an empty value means that it is not set (None)."""

ZoneName: TypeAlias = Annotated[str | None, Unset, AfterValidator(_check_zone)]
"""The IANA name of a time zone, or None."""
