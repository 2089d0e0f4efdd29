"""A lookup of the coordinator, which allows connection strings to name any node of a Citus cluster."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg

from saldo.store.connections.url import format_url, get_first_line
from saldo.store.errors import ConfigurationError
from saldo.store.schema.migrate import connect_to_supported_server
from saldo.store.statements import load_statement

_HOST_PARAMETERS: Final = {"host", "hostaddr", "port"}


def find_coordinator_url(url: str) -> str:
    """Return the connection string of the coordinator if `url` leads to a Citus worker; otherwise return `url`
    unchanged.

    Raises:
        ConfigurationError: The database can't be queried, or the address that the workers use for the
            coordinator leads to another server from this machine. The message is one line for the operator.
    """
    try:
        coordinator = _find_coordinator(url)
    except psycopg.Error as error:
        raise ConfigurationError(f"database {format_url(url)}: {get_first_line(error)}") from error
    if coordinator is None or not coordinator[2]:
        return url
    host, port, _ = coordinator
    there = _replace_host(url, host, port)
    try:
        answer = _find_coordinator(there)
    except psycopg.Error:
        answer = None
    if answer is None or answer[2]:
        raise ConfigurationError(
            f"database {format_url(url)}: the server is a Citus worker, and its coordinator {host}:{port} can't be "
            "reached: use the connection string of the coordinator, or give the coordinator a name that resolves on "
            "every machine (citus_set_coordinator_host)"
        )
    return there


def _find_coordinator(url: str) -> tuple[str, int, bool] | None:
    """Return the coordinator's host and port, and whether it is another node than this one; None without a Citus
    cluster."""
    with connect_to_supported_server(url) as connection:
        here = connection.execute("SELECT to_regclass('pg_catalog.pg_dist_local_group') IS NULL")
        if here.fetchone() == (True,):
            return None
        found = connection.execute(load_statement("citus/coordinator")).fetchone()
    return None if found is None else (found[0], found[1], found[2])


def _replace_host(url: str, host: str, port: int) -> str:
    """Return a connection string for the same role and database on another server."""
    parts = urlsplit(url)
    account, at, _ = parts.netloc.rpartition("@")
    written = f"[{host}]" if ":" in host else quote(host, safe="")
    query = [each for each in parse_qsl(parts.query) if each[0] not in _HOST_PARAMETERS]
    return parts._replace(
        netloc=f"{account}{at}{written}:{port}", query=urlencode(query, quote_via=quote)
    ).geturl()
