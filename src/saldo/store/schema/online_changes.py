"""Changes of large tables while the service uses them, each outside the migrations' transaction.

Each change is made only if it is still pending, so that an interrupted attempt continues at the next start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.resources import files
from typing import NamedTuple

import psycopg
from psycopg import sql

from saldo.store.connections.url import format_url, get_first_line
from saldo.store.errors import ConfigurationError
from saldo.store.schema.migration_locks import (
    LOCK_SECONDS_MAX,
    Driver,
    LockWatch,
    poll_migration_lock,
    retry_until_locked,
    set_attempt,
)
from saldo.store.statements import load_statement

_log = logging.getLogger("saldo.migrate")


class PendingChanges(NamedTuple):
    """The pending changes of `saldo.users`; see sql/schema/pending_online_changes.sql.

    Attributes:
        invalid_indexes: The names of invalid indexes to drop.
        needs_collation: Whether the names' collation must be changed.
        needs_unique_index: Whether the new unique index must be created before the collation is changed.
        needs_prefix_index: Whether the index for the search by prefix must be created.
        needs_validation: Whether a constraint must be validated.
    """

    invalid_indexes: list[str]
    needs_collation: bool
    needs_unique_index: bool
    needs_prefix_index: bool
    needs_validation: bool

    def __bool__(self) -> bool:
        return (
            bool(self.invalid_indexes)
            or self.needs_collation
            or self.needs_prefix_index
            or self.needs_validation
        )


def read_pending_changes(driver: Driver) -> PendingChanges:
    """Return the pending changes."""
    row = driver.execute(load_statement("schema/pending_online_changes")).fetchone()
    assert row is not None
    return PendingChanges(*row)


def apply_pending_changes(url: str, connect: Callable[[], Driver], watch: LockWatch) -> None:
    """Change the collation of user names to byte order, and replace the indexes of the names.

    Args:
        url: The connection string of the role that owns the schema, for messages.
        connect: A function that opens a connection of that role.
        watch: The watch that logs the processes for which this function waits.

    Raises:
        ConfigurationError: The changes can't be made now. The message is one line for the operator.
    """
    try:
        # The changes run on one connection outside a transaction. Meanwhile, the other connection holds the lock of the
        # migrations.
        with connect() as lock, connect() as connection:
            poll_migration_lock(url, lock, watch)
            connection.autocommit = True
            _limit_lock_waits(connection)
            _apply_pending_changes(url, connection, watch)
    except psycopg.errors.LockNotAvailable as error:
        raise ConfigurationError(
            f"database {format_url(url)}: a lock on saldo.users was unavailable for {LOCK_SECONDS_MAX:.0f} "
            "s because of "
            f"{watch.last or 'another transaction'}: end that transaction and run saldo db migrate"
        ) from error
    except psycopg.Error as error:
        raise ConfigurationError(f"database {format_url(url)}: {get_first_line(error)}") from error


def _apply_pending_changes(url: str, connection: Driver, watch: LockWatch) -> None:
    pending = read_pending_changes(connection)
    if not pending:
        return
    _log.info("changing the indexes of saldo.users, which remains in use")
    for name in pending.invalid_indexes:
        connection.execute(
            sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS saldo.{}").format(sql.Identifier(name))
        )
    if pending.needs_collation:
        if pending.needs_unique_index:
            connection.execute(_read_step("0012_users_key"))

        def swap() -> None:
            with connection.transaction():
                set_attempt(connection)
                connection.execute(_read_step("0012_users_swap"))

        retry_until_locked(url, watch, swap)
    pending = read_pending_changes(connection)
    if pending.needs_prefix_index:
        connection.execute(_read_step("0012_users_prefix"))
    if pending.needs_validation:
        connection.execute(_read_step("0012_users_check"))
    connection.execute("ANALYZE saldo.users")


def _limit_lock_waits(connection: Driver) -> None:
    """Limit the time of waiting for locks. Behind a pooler nothing is set, because the setting would remain for other
    clients."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    if row == (connection.info.backend_pid,):
        seconds = sql.Literal(f"{LOCK_SECONDS_MAX:.0f}s")
        connection.execute(sql.SQL("SET lock_timeout = {}").format(seconds))


def _read_step(name: str) -> bytes:
    return (files("saldo.store.schema.migrations") / "sql" / f"{name}.sql").read_bytes()
