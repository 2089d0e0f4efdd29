"""Distribution of a ledger over the workers of a Citus cluster.

This module is synchronous. The service must be stopped while it runs.
"""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

import psycopg
from psycopg import sql

from saldo.ledger.model import SHARDS
from saldo.store.connections.url import format_url, get_first_line
from saldo.store.errors import ConfigurationError
from saldo.store.statements import load_statement

CONNECT_SECONDS_MAX = 10


class DistributionResult(NamedTuple):
    """The result of a distribution.

    Attributes:
        workers: The number of workers that store shards.
        shards: The number of the ledger's shards, each of which is on one worker.
        entries: The number of entries in the ledger.
    """

    workers: int
    shards: int
    entries: int


def distribute(owner_role_url: str, service_role_url: str) -> DistributionResult:
    """Distribute a ledger that is on the coordinator only, whether it is empty or not.

    Citus requires three transactions. If the function is interrupted between two of them, another call continues. The
    ledger is unchanged until the last transaction is committed.

    Args:
        owner_role_url: The connection string of the role that owns the schema, on the coordinator.
        service_role_url: The connection string of the service role, which gets rights on the new objects if it is
            another role.

    Raises:
        ConfigurationError: The message is one line for the operator.
    """
    try:
        with psycopg.connect(
            owner_role_url, connect_timeout=CONNECT_SECONDS_MAX, autocommit=True
        ) as connection:
            workers = _check_preconditions(connection, service_role_url)
            _split_tables(connection)
            with connection.transaction():
                for name in ("tables", "search", "post", "users", "balance", "bounds"):
                    connection.execute(_read_sql(name))
                _grant_rights(connection, service_role_url)
            row = connection.execute("SELECT count(*) FROM saldo.transactions").fetchone()
    except psycopg.Error as error:
        raise ConfigurationError(
            f"database {format_url(owner_role_url)}: {get_first_line(error)}"
        ) from error
    assert row is not None
    return DistributionResult(workers, SHARDS, row[0])


def _check_preconditions(
    connection: psycopg.Connection[tuple[object, ...]], service_role_url: str
) -> int:
    """Check that the ledger can be distributed, and return the number of workers.

    Raises:
        ConfigurationError: The ledger can't be distributed now. The message is one line for the operator.
    """
    service = psycopg.conninfo.conninfo_to_dict(service_role_url).get("user", "")
    row = connection.execute(load_statement("citus/status"), {"service": service}).fetchone()
    assert row is not None
    citus, distributed, connected = row
    if not citus:
        raise ConfigurationError(
            "the database does not have the extension citus: run CREATE EXTENSION citus on every node, and add the "
            "workers (docs/howto/scale-out.md)"
        )
    if distributed:
        raise ConfigurationError("the ledger is already distributed")
    if connected:
        raise ConfigurationError(
            f"there are {connected} other connections to the ledger: stop all its clients first"
        )
    row = connection.execute(load_statement("citus/worker_count")).fetchone()
    assert row is not None
    coordinator, workers = row
    if not coordinator:
        raise ConfigurationError(
            "SALDO_DATABASE_URL must name the Citus coordinator (citus_is_coordinator())"
        )
    if not workers:
        raise ConfigurationError(
            "there are no Citus workers that may have shards: add workers with citus_add_node() "
            "(docs/howto/scale-out.md)"
        )
    return int(str(workers))


def _split_tables(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    row = connection.execute(load_statement("citus/shard_count")).fetchone()
    assert row is not None
    if row[0] is None:
        with connection.transaction():
            connection.execute(_read_sql("shards"))
        row = (1,)
    if row[0] == 1:
        connection.execute(_read_sql("split"))


def _grant_rights(
    connection: psycopg.Connection[tuple[object, ...]], service_role_url: str
) -> None:
    role = psycopg.conninfo.conninfo_to_dict(service_role_url).get("user")
    if role and role != connection.info.user:
        grants = sql.SQL(load_statement("roles/grant")).format(role=sql.Identifier(str(role)))
        connection.execute(grants)


def _read_sql(name: str) -> bytes:
    return (files("saldo.store.citus") / "sql" / f"{name}.sql").read_bytes()
