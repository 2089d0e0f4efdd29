"""Brings a database to the schema that this version needs, and holds it against the settings.

Synchronous, run before the service starts. Everything happens in one transaction under one lock:
of many processes that start at once, one migrates and the others find it done.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.resources import files
from typing import Any

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy.pool import NullPool

from saldo.store.errors import SetUpError
from saldo.store.statements import statement
from saldo.store.url import first_line, shown

POSTGRESQL_MIN = 15
"""Older ones are out of support, or nearly; the tests run against this one and the newest."""

CONNECT_SECONDS_MAX = 10
"""How long a start waits for a server that doesn't answer."""

LOCK_SECONDS_MAX = 60
"""How long a migration waits for a lock: another process may be migrating a large table."""

_log = logging.getLogger("saldo.migrate")

Driver = psycopg.Connection[tuple[Any, ...]]


def prepare(
    owner_url: str, service_url: str, *, currency_decimals: int, max_lateness: timedelta | None
) -> None:
    """Migrates, grants, and makes the ledger's own row agree with the settings.

    Args:
        owner_url: the role that owns the schema.
        service_url: the role the service runs as; granted what it needs if it is another one.
        currency_decimals: fixed once the ledger exists.
        max_lateness: how late a new entry may be; None: any.

    Raises:
        SetUpError: one line for the operator.
    """
    with _schema_locked(owner_url) as connection:
        _bring_up(connection, owner_url, service_url)
        _configure(_driver(connection), currency_decimals, max_lateness)


def migrate(owner_url: str, service_url: str) -> None:
    """Migrates and grants, as `prepare` does, and leaves the ledger's own row alone.

    Raises:
        SetUpError: one line for the operator.
    """
    with _schema_locked(owner_url) as connection:
        _bring_up(connection, owner_url, service_url)


@contextmanager
def _schema_locked(owner_url: str) -> Iterator[sqlalchemy.Connection]:
    """A transaction in which nobody else migrates."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connected(owner_url), poolclass=NullPool
    )
    try:
        # Once outside a transaction: the engine looks at the server, and rolls back, when it first
        # connects, and would release the lock below.
        with engine.connect():
            pass
        with engine.begin() as connection:
            driver = _driver(connection)
            driver.execute(_limit_of_lock_wait())
            driver.execute(statement("migration_lock"))
            yield connection
    except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError) as error:
        raise SetUpError(f"database {shown(owner_url)}: {first_line(error)}") from error
    finally:
        engine.dispose()


def _bring_up(connection: sqlalchemy.Connection, owner_url: str, service_url: str) -> None:
    driver = _driver(connection)
    if _migrate(connection, driver) and owner_url != service_url:
        _grant(driver, service_url)


def _driver(connection: sqlalchemy.Connection) -> Driver:
    driver: Driver = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


def connected(url: str) -> Driver:
    """A connection to a server that is new enough.

    Raises:
        SetUpError: it is older; one line for the operator. psycopg.Error: it could not be made.
    """
    connection = psycopg.connect(url, connect_timeout=CONNECT_SECONDS_MAX)
    version = connection.info.server_version
    if version < POSTGRESQL_MIN * 10_000:
        connection.close()
        raise SetUpError(
            f"database {shown(url)} is PostgreSQL {version // 10_000}; "
            f"Saldo needs {POSTGRESQL_MIN} or newer"
        )
    return connection


def _limit_of_lock_wait() -> sql.Composed:
    return sql.SQL("SET LOCAL lock_timeout = {}").format(f"{LOCK_SECONDS_MAX}s")


def _migrate(connection: sqlalchemy.Connection, driver: Driver) -> bool:
    """Runs the steps that are missing; False when a newer version of Saldo has been here."""
    config = Config()
    config.set_main_option("script_location", str(files("saldo.store") / "migrations"))
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    current = None
    if driver.execute(statement("schema_exists")).fetchone() == (True,):
        context = MigrationContext.configure(
            connection, opts={"version_table": "migrations", "version_table_schema": "saldo"}
        )
        current = context.get_current_revision()
    else:
        driver.execute(statement("create_schema"))
    if current == script.get_current_head():
        return True
    if current is not None and current not in {step.revision for step in script.walk_revisions()}:
        # A rolling update: what this version needs stays for two releases.
        _log.warning("the database is at %s, newer than this version knows", current)
        return False
    _log.info("migrating from %s to %s", current or "nothing", script.get_current_head())
    command.upgrade(config, "head")
    return True


def _configure(driver: Driver, currency_decimals: int, max_lateness: timedelta | None) -> None:
    rules = {"currency_decimals": currency_decimals, "max_lateness": max_lateness}
    row = driver.execute(statement("ledger_rules")).fetchone()
    if row is None:
        driver.execute(statement("ledger_create"), rules)
        return
    if row[0] != currency_decimals:
        raise SetUpError(
            f"SALDO_CURRENCY_DECIMALS={currency_decimals}: this ledger was created with {row[0]}, "
            "and every amount in it counts in those"
        )
    if row[1] != max_lateness:
        driver.execute(statement("lock_all_shards"))
        driver.execute(statement("ledger_change"), rules)


def _grant(driver: Driver, service_url: str) -> None:
    role = psycopg.conninfo.conninfo_to_dict(service_url).get("user")
    if role and role != driver.info.user:
        grants = sql.SQL(statement("grants")).format(role=sql.Identifier(str(role)))
        driver.execute(grants)
