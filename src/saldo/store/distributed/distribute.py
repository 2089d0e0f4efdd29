"""Distributes a ledger over the workers of a Citus cluster. Synchronous; nobody may post meanwhile."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

import psycopg
from psycopg import sql

from saldo.store.errors import SetUpError
from saldo.store.statements import statement
from saldo.store.url import first_line, shown

CONNECT_SECONDS_MAX = 10


class Distributed(NamedTuple):
    """What has come of it. workers: how many have shards; shards: of the ledger, each on one of them."""

    workers: int
    shards: int
    entries: int


def distribute(owner_url: str, service_url: str) -> Distributed:
    """Makes a distributed ledger of one that is on the coordinator alone, filled or not.

    Three transactions, as Citus wants it. Interrupted between them it goes on when it is called again; the ledger is
    as it was until the last one is committed.

    Args:
        owner_url: the role that owns the schema, on the coordinator.
        service_url: the role of the service; granted what is new if it is another one.

    Raises:
        SetUpError: one line for the operator.
    """
    try:
        with psycopg.connect(
            owner_url, connect_timeout=CONNECT_SECONDS_MAX, autocommit=True
        ) as connection:
            workers = _check(connection, service_url)
            _split(connection)
            with connection.transaction():
                for name in ("tables", "search", "post", "users", "balance"):
                    connection.execute(_text(name))
                _grant(connection, service_url)
            row = connection.execute("SELECT count(*) FROM saldo.transactions").fetchone()
    except psycopg.Error as error:
        raise SetUpError(f"database {shown(owner_url)}: {first_line(error)}") from error
    assert row is not None
    return Distributed(workers, 64, row[0])


def _check(connection: psycopg.Connection[tuple[object, ...]], service_url: str) -> int:
    """How many workers there are; refuses what can't be distributed."""
    service = psycopg.conninfo.conninfo_to_dict(service_url).get("user", "")
    row = connection.execute(statement("citus"), {"service": service}).fetchone()
    assert row is not None
    citus, distributed, connected = row
    if not citus:
        raise SetUpError(
            "this database has no Citus: CREATE EXTENSION citus in it on every node, and add the workers; see "
            "docs/howto/scale-out.md"
        )
    if distributed:
        raise SetUpError("the ledger is distributed already")
    if connected:
        raise SetUpError(
            f"stop whatever uses the ledger first: others are connected, {connected} times"
        )
    row = connection.execute(statement("citus_workers")).fetchone()
    assert row is not None
    coordinator, workers = row
    if not coordinator:
        raise SetUpError("this is no coordinator: distribute from there (citus_is_coordinator())")
    if not workers:
        raise SetUpError(
            "no node may have shards: add workers with citus_add_node(); see docs/howto/scale-out.md"
        )
    return int(str(workers))


def _split(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    row = connection.execute(statement("citus_shards")).fetchone()
    assert row is not None
    if row[0] is None:
        with connection.transaction():
            connection.execute(_text("shards"))
        row = (1,)
    if row[0] == 1:
        connection.execute(_text("split"))


def _grant(connection: psycopg.Connection[tuple[object, ...]], service_url: str) -> None:
    role = psycopg.conninfo.conninfo_to_dict(service_url).get("user")
    if role and role != connection.info.user:
        grants = sql.SQL(statement("grants")).format(role=sql.Identifier(str(role)))
        connection.execute(grants)


def _text(name: str) -> bytes:
    return (files("saldo.store.distributed") / "sql" / f"{name}.sql").read_bytes()
