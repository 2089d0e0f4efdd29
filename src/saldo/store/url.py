"""What may be said of a connection string."""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg

DEFAULT_PORT = 5432


def shown(url: str) -> str:
    """Where the database is, without the password. The hosts of a failover set are several."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2] or 'local socket'}{parts.path}"


def hosts_of(url: str) -> list[tuple[str, int]]:
    """The hosts (or directories of sockets) that it names, each with its port, in their order."""
    try:
        named = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return []  # the driver will say what is wrong with it
    hosts = str(named.get("host") or "").split(",")
    ports = str(named.get("port") or "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    return [
        (host, int(port or DEFAULT_PORT)) for host, port in zip(hosts, ports, strict=False) if host
    ]


def first_line(error: BaseException) -> str:
    """The line of an error that says what; hints and context follow in others."""
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
