"""Any node of a cluster may be named as the database: it knows which one is the coordinator."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg

from saldo.store.errors import SetUpError
from saldo.store.statements import statement
from saldo.store.url import shown

CONNECT_SECONDS_MAX: Final = 10

_PLACES: Final = {"host", "hostaddr", "port"}


def coordinator_of(url: str) -> str:
    """The connection string of the coordinator, if it names a worker of a Citus cluster; else as it is.

    A node that can't be asked is left to whoever connects next, and has more to say about it.

    Raises:
        SetUpError: what the workers call the coordinator is something else from here; one line for the operator.
    """
    found = _asked(url)
    if found is None or not found[2]:
        return url
    host, port, _ = found
    there = _at(url, host, port)
    answer = _asked(there)
    if answer is None or answer[2]:
        raise SetUpError(
            f"database {shown(url)}: it is a worker, and its coordinator {host}:{port} can't be reached from here or "
            "is not there: name the coordinator, or give it a name that holds everywhere (citus_set_coordinator_host)"
        )
    return there


def _asked(url: str) -> tuple[str, int, bool] | None:
    """Host, port, and whether this is another node; None: it is no cluster, or can't be asked."""
    try:
        with psycopg.connect(
            url, connect_timeout=CONNECT_SECONDS_MAX, autocommit=True
        ) as connection:
            row = connection.execute("SELECT to_regclass('pg_catalog.pg_dist_local_group')")
            if row.fetchone() == (None,):
                return None
            found = connection.execute(statement("citus_coordinator")).fetchone()
    except psycopg.Error:
        return None
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
