"""What may be said of a connection string."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import psycopg

DEFAULT_PORT: Final = 5432
PORT_MAX: Final = 65_535

_SUSPECT: Final = re.compile(r"[@=]")
"""A sign that had to be quoted ends a part too early; what follows may be the rest of a password."""


def shown(url: str) -> str:
    """Where the database is, of the parts that libpq reads: never the password, nor a part of one that is not quoted.

    The hosts of a failover set are several.
    """
    named = _named(url)
    hosts = _hosts(named)
    written = ",".join(f"{host}:{port}" if port else host for host, port in hosts)
    place = f"{written or 'local socket'}/{named.get('dbname', '')}"
    if not named or _SUSPECT.search(place) or not all(_is_port(port) for _, port in hosts):
        return "of a connection string that can't be read"
    return place


def is_readable(url: str) -> bool:
    """Whether libpq reads it, and each host has a port that can be one, or none."""
    named = _named(url)
    ports = named.get("port", "").split(",")
    hosts = _hosts(named)
    return (
        bool(named)
        and len(ports) in {1, len(named.get("host", "").split(","))}
        and all(_is_port(port) for _, port in hosts)
    )


def hosts_of(url: str) -> list[tuple[str, int]]:
    """The hosts (or directories of sockets) that it names, each with its port, in their order.

    None where the string can't be read: the driver will say what is wrong with it.
    """
    hosts = _hosts(_named(url))
    if not all(_is_port(port) for _, port in hosts):
        return []
    return [(host, int(port or DEFAULT_PORT)) for host, port in hosts if host]


def _named(url: str) -> dict[str, str]:
    """Its parts as libpq reads them."""
    if "\0" in url:
        return {}  # libpq would read what is before it alone, and take another part for the host
    try:
        named = psycopg.conninfo.conninfo_to_dict(url)
    except (psycopg.Error, ValueError):
        return {}
    return {name: str(value) for name, value in named.items() if value is not None}


def _hosts(named: Mapping[str, str]) -> list[tuple[str, str]]:
    hosts = named.get("host", "").split(",")
    ports = named.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    return list(zip(hosts, ports, strict=False))


def _is_port(text: str) -> bool:
    """Whether it is one, or none."""
    return text == "" or (
        text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= PORT_MAX
    )


def first_line(error: BaseException) -> str:
    """The line of an error that says what; hints and context follow in others."""
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
