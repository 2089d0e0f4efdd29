"""Migration of a database to the schema of this version, and the comparison of the ledger with the settings.

This module is synchronous and runs before the service starts. The migration runs in one transaction under one lock. If
many processes start at the same time, one of them migrates, and the others find the schema up to date. Changes that
would block a large table in use are made afterwards, in separate steps (`saldo.store.schema.online_changes`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from importlib.resources import files
from typing import TypeVar

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy.pool import NullPool

from saldo.store.connections.url import format_url, get_first_line
from saldo.store.errors import ConfigurationError
from saldo.store.schema.migration_locks import (
    APPLICATION_NAME,
    Driver,
    LockWatch,
    poll_migration_lock,
    retry_until_locked,
)
from saldo.store.schema.online_changes import apply_pending_changes, read_pending_changes
from saldo.store.statements import load_statement

POSTGRESQL_MIN = 15
"""Oldest supported version of PostgreSQL. Older versions have reached the end of their life, or nearly. The tests use
this version and the newest one."""

CONNECT_SECONDS_MAX = 10
"""Timeout of an attempt to connect, in seconds."""

_log = logging.getLogger("saldo.migrate")

T = TypeVar("T")


def prepare_schema(
    owner_role_url: str,
    service_role_url: str,
    *,
    currency_decimals: int,
    max_lateness: timedelta | None,
) -> None:
    """Migrate the schema, grant rights, and update the ledger's row from the settings.

    Args:
        owner_role_url: The connection string of the role that owns the schema.
        service_role_url: The connection string of the service role, which gets its rights if it is not the owner.
        currency_decimals: The number of decimals, which is fixed when the ledger is created.
        max_lateness: The maximum lateness of new entries; None for no limit.

    Raises:
        ConfigurationError: The message is one line for the operator.
    """

    def work(connection: sqlalchemy.Connection) -> bool:
        changes = _upgrade_schema(connection, owner_role_url, service_role_url)
        _configure_ledger(_get_driver(connection), currency_decimals, max_lateness)
        return changes

    with LockWatch(owner_role_url) as watch:
        if _run_exclusively(owner_role_url, watch, work):
            try:
                apply_pending_changes(
                    owner_role_url, partial(connect_to_supported_server, owner_role_url), watch
                )
            except ConfigurationError as error:
                # The service can run without these changes; `saldo verify` names those that are missing.
                _log.warning(
                    "%s; the service starts without this change, which is tried again at the next start or by "
                    "`saldo db migrate`",
                    error,
                )


def check_schema_compatibility(
    url: str, *, currency_decimals: int, max_lateness: timedelta | None
) -> bool:
    """Check that the database fits this version and these settings, without changing anything.

    The check runs in a read-only transaction. If the maximum lateness in the ledger differs from the settings, this is
    only logged, because the settings of the service decide it.

    Args:
        url: The connection string of the service role, or of any other role that may read the schema.

    Returns:
        False if there is no ledger yet.

    Raises:
        ConfigurationError: The database can't be used as it is. The message is one line for the operator.
    """
    try:
        with closing(connect_to_supported_server(url, application_name="saldo check")) as driver:
            driver.read_only = True
            if driver.execute(load_statement("schema/exists")).fetchone() != (True,):
                return False
            revision = driver.execute(load_statement("schema/revision")).fetchone()
            rules = driver.execute(load_statement("ledger/rules")).fetchone()
    except psycopg.Error as error:
        raise ConfigurationError(f"database {format_url(url)}: {get_first_line(error)}") from error
    if revision is None or rules is None:
        return False
    _check_revision(revision[0])
    _check_decimals(rules[0], currency_decimals)
    if rules[1] != max_lateness:
        _log.warning(
            "SALDO_MAX_LATENESS_SECONDS is %s in the ledger, but %s in the settings of this process; the "
            "ledger is not changed",
            *(
                "not set" if each is None else f"{each.total_seconds():g}"
                for each in (rules[1], max_lateness)
            ),
        )
    return True


def _check_revision(revision: str) -> None:
    script = ScriptDirectory(str(files("saldo.store.schema") / "migrations"))
    head = script.get_current_head()
    if revision == head:
        return
    if revision in {step.revision for step in script.walk_revisions()}:
        raise ConfigurationError(
            f"the schema is at {revision}, but this version of Saldo requires {head}: run saldo db migrate, "
            "or use the same version of Saldo as the service"
        )
    _warn_about_newer_schema(revision)


def _warn_about_newer_schema(revision: str) -> None:
    _log.warning(
        "the schema is at %s, which is newer than this version of Saldo: this is normal during a rolling update; "
        "otherwise update Saldo",
        revision,
    )


def _check_decimals(stored_decimals: int, currency_decimals: int) -> None:
    if stored_decimals != currency_decimals:
        raise ConfigurationError(
            f"SALDO_CURRENCY_DECIMALS={currency_decimals}: the ledger was created with {stored_decimals} decimals, "
            "which can't be changed"
        )


def migrate_schema(owner_role_url: str, service_role_url: str) -> None:
    """Migrate the schema and grant rights, but don't change the ledger's row.

    Raises:
        ConfigurationError: The message is one line for the operator.
    """
    with LockWatch(owner_role_url) as watch:
        if _run_exclusively(
            owner_role_url,
            watch,
            lambda each: _upgrade_schema(each, owner_role_url, service_role_url),
        ):
            apply_pending_changes(
                owner_role_url, partial(connect_to_supported_server, owner_role_url), watch
            )


def _run_exclusively(
    owner_role_url: str, watch: LockWatch, work: Callable[[sqlalchemy.Connection], T]
) -> T:
    """Do the work in a transaction during which no other process migrates. Repeat it while a lock is unavailable."""

    def attempt() -> T:
        with _lock_schema(owner_role_url, watch) as connection:
            return work(connection)

    try:
        return retry_until_locked(owner_role_url, watch, attempt)
    except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError) as error:
        raise ConfigurationError(
            f"database {format_url(owner_role_url)}: {get_first_line(error)}"
        ) from error


@contextmanager
def _lock_schema(owner_role_url: str, watch: LockWatch) -> Iterator[sqlalchemy.Connection]:
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect_to_supported_server(owner_role_url),
        poolclass=NullPool,
    )
    try:
        # The engine queries the server and rolls back at its first connection, which would release the lock below. It
        # therefore connects once before.
        with engine.connect():
            pass
        with engine.begin() as connection:
            try:
                poll_migration_lock(owner_role_url, _get_driver(connection), watch)
                yield connection
            except KeyboardInterrupt:
                # A statement may still be running, so that this connection can't be used.
                connection.invalidate()
                raise
    finally:
        engine.dispose()


def _upgrade_schema(
    connection: sqlalchemy.Connection, owner_role_url: str, service_role_url: str
) -> bool:
    """Migrate and grant rights. Return whether `saldo.store.schema.online_changes` has pending changes."""
    driver = _get_driver(connection)
    if not _run_migrations(connection, driver):
        return False
    if owner_role_url != service_role_url:
        _grant_rights(driver, service_role_url)
    return bool(read_pending_changes(driver))


def _get_driver(connection: sqlalchemy.Connection) -> Driver:
    driver: Driver = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


def connect_to_supported_server(url: str, *, application_name: str = APPLICATION_NAME) -> Driver:
    """Connect to a server of a supported version.

    Raises:
        ConfigurationError: The server has an older version, or the encoding of the database is not UTF8. The message is
            one line for the operator.
        psycopg.Error: The connection failed.
    """
    connection = psycopg.connect(
        url, connect_timeout=CONNECT_SECONDS_MAX, application_name=application_name
    )
    version = connection.info.server_version
    if version < POSTGRESQL_MIN * 10_000:
        connection.close()
        raise ConfigurationError(
            f"database {format_url(url)} is PostgreSQL {version // 10_000}; "
            f"Saldo requires PostgreSQL {POSTGRESQL_MIN} or newer"
        )
    # A cluster that was created without a locale has SQL_ASCII, in which the driver returns text as bytes.
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in {None, "UTF8"}:
        connection.close()
        raise ConfigurationError(
            f"database {format_url(url)} has the encoding {encoding}, and Saldo requires UTF8: create the database "
            "with TEMPLATE template0 ENCODING 'UTF8'"
        )
    return connection


def _run_migrations(connection: sqlalchemy.Connection, driver: Driver) -> bool:
    """Run the missing steps. Return False if a newer version of Saldo has migrated the schema."""
    config = Config()
    config.set_main_option("script_location", str(files("saldo.store.schema") / "migrations"))
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    current = None
    if driver.execute(load_statement("schema/exists")).fetchone() == (True,):
        context = MigrationContext.configure(
            connection, opts={"version_table": "migrations", "version_table_schema": "saldo"}
        )
        current = context.get_current_revision()
    else:
        driver.execute(load_statement("schema/create"))
    if current == script.get_current_head():
        return True
    if current is not None and current not in {step.revision for step in script.walk_revisions()}:
        # This happens in a rolling update, and is no error: a schema remains compatible for two releases.
        _warn_about_newer_schema(current)
        return False
    _log.info("migrating the schema from %s to %s", current or "nothing", script.get_current_head())
    command.upgrade(config, "head")
    return True


def _configure_ledger(
    driver: Driver, currency_decimals: int, max_lateness: timedelta | None
) -> None:
    rules = {"currency_decimals": currency_decimals, "max_lateness": max_lateness}
    row = driver.execute(load_statement("ledger/rules")).fetchone()
    if row is None:
        driver.execute(load_statement("ledger/create"), rules)
        return
    _check_decimals(row[0], currency_decimals)
    if row[1] != max_lateness:
        driver.execute(load_statement("ledger/lock_all_shards"))
        driver.execute(load_statement("ledger/change_rules"), rules)


def _grant_rights(driver: Driver, service_role_url: str) -> None:
    role = psycopg.conninfo.conninfo_to_dict(service_role_url).get("user")
    if role and role != driver.info.user:
        grants = sql.SQL(load_statement("roles/grant")).format(role=sql.Identifier(str(role)))
        driver.execute(grants)
