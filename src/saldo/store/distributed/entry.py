"""Any node of a cluster may be named as the database: it knows which one is the coordinator."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg

from saldo.store.errors import SetUpError
from saldo.store.migrate import connected
from saldo.store.statements import statement
from saldo.store.url import first_line, shown

_PLACES: Final = {"host", "hostaddr", "port"}


def coordinator_of(url: str) -> str:
    """The connection string of the coordinator, if it names a worker of a Citus cluster; else as it is.

    Raises:
        SetUpError: it can't be asked, or what the workers call the coordinator is something else from here; one line
            for the operator.
    """
    try:
        found = _asked(url)
    except psycopg.Error as error:
        raise SetUpError(f"database {shown(url)}: {first_line(error)}") from error
    if found is None or not found[2]:
        return url
    host, port, _ = found
    there = _at(url, host, port)
    try:
        answer = _asked(there)
    except psycopg.Error:
        answer = None
    if answer is None or answer[2]:
        raise SetUpError(
            f"database {shown(url)}: it is a worker, and its coordinator {host}:{port} can't be reached from here or "
            "is not there: name the coordinator, or give it a name that holds everywhere (citus_set_coordinator_host)"
        )
    return there


def _asked(url: str) -> tuple[str, int, bool] | None:
    """Host, port, and whether this is another node; None: it is no cluster."""
    with connected(url) as connection:
        here = connection.execute("SELECT to_regclass('pg_catalog.pg_dist_local_group') IS NULL")
        if here.fetchone() == (True,):
            return None
        found = connection.execute(statement("citus_coordinator")).fetchone()
    return None if found is None else (found[0], found[1], found[2])


def _at(url: str, host: str, port: int) -> str:
    """The same role and database on another server."""
    parts = urlsplit(url)
    account, at, _ = parts.netloc.rpartition("@")
    written = f"[{host}]" if ":" in host else quote(host, safe="")
    query = [each for each in parse_qsl(parts.query) if each[0] not in _PLACES]
    return parts._replace(
        netloc=f"{account}{at}{written}:{port}", query=urlencode(query, quote_via=quote)
    ).geturl()
