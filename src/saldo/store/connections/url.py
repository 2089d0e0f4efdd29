"""The parts of a connection string that may be shown and logged."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

import psycopg

from saldo.encoding.urls import is_port

DEFAULT_PORT: Final = 5432

_SUSPECT: Final = re.compile(r"[@=]")
"""Characters that must be percent-encoded in a connection string.

A parsed part that contains one of them was split in the wrong place, and may contain a piece of the password.
"""


def format_url(url: str) -> str:
    """Return the hosts, ports and database of a connection string, for messages.

    The text never contains the password. If the password is not percent-encoded correctly, the text contains no piece
    of it either.
    """
    parameters = _parse(url)
    hosts = _split_hosts(parameters)
    hosts_text = ",".join(f"{host}:{port}" if port else host for host, port in hosts)
    address = f"{hosts_text or 'local socket'}/{parameters.get('dbname', '')}"
    if not parameters or _SUSPECT.search(address) or not all(_is_port(port) for _, port in hosts):
        return "of a connection string that can't be read"
    return address


def list_hosts(url: str) -> list[tuple[str, int]]:
    """Return the hosts (or socket directories) of a connection string with their ports, in order.

    The list is empty if the string can't be parsed. The driver then reports the error.
    """
    hosts = _split_hosts(_parse(url))
    if not all(_is_port(port) for _, port in hosts):
        return []
    return [(host, int(port or DEFAULT_PORT)) for host, port in hosts if host]


def find_unverified_hosts(url: str) -> list[str]:
    """Return the remote hosts whose certificates a connection does not verify, in order.

    Local addresses (sockets, loopback addresses, `localhost`) are left out, because their traffic crosses no network.
    The list is empty if the string can't be parsed. The environment variables of libpq are applied as in the drivers.
    """
    parameters = _parse(url)
    mode = parameters.get("sslmode") or os.environ.get("PGSSLMODE", "")
    if not parameters or mode == "verify-full":
        return []
    hosts = parameters.get("hostaddr") or parameters.get("host") or os.environ.get("PGHOST", "")
    return [host for host in hosts.split(",") if not _is_local(host)]


def _is_local(host: str) -> bool:
    """Return whether a host is this machine. An empty host is the local socket."""
    if host in {"", "localhost"} or host.startswith(("/", "@")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _parse(url: str) -> dict[str, str]:
    """Return the parameters of a connection string as libpq parses them; empty if it can't be parsed."""
    if "\0" in url:
        return {}  # libpq would ignore everything after the NUL, and so could connect to another host
    try:
        parameters = psycopg.conninfo.conninfo_to_dict(url)
    except (psycopg.Error, ValueError):
        return {}
    return {name: str(value) for name, value in parameters.items() if value is not None}


def _split_hosts(parameters: Mapping[str, str]) -> list[tuple[str, str]]:
    hosts = parameters.get("host", "").split(",")
    ports = parameters.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    return list(zip(hosts, ports, strict=False))


def _is_port(text: str) -> bool:
    """Return whether a text is a port number, or empty."""
    return text == "" or is_port(text)


def get_first_line(error: BaseException) -> str:
    """Return the first line of an error's message. The other lines are hints and context."""
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
