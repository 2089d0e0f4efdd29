"""Waiting for the locks of migrations, and logging the processes that hold them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar

import psycopg
import sqlalchemy

from saldo.store.connections.url import format_url
from saldo.store.errors import DatabaseUnavailableError
from saldo.store.statements import load_statement

APPLICATION_NAME: Final = "saldo migrate"
"""Application name of a migration's connections, by which they are identified."""

LOCK_SECONDS_MAX: Final = 60.0
"""Maximum time for which a migration tries to get its locks, in all attempts together."""

ATTEMPT_SECONDS: Final = 1.0
"""Lock timeout of one attempt. Other statements on the same table queue behind it for this time."""

PAUSE_SECONDS: Final = 2.0
"""Pause between two attempts, in which the queued statements can run."""

OTHER_SECONDS_MAX: Final = 600.0
"""Maximum time to wait for another process that migrates. That process may be building an index on a large table."""

POLL_SECONDS: Final = 0.5

_CONNECT_SECONDS: Final = 5

_NO_LOCK: Final = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
"""Errors after which an attempt is repeated. Deadlocks come from statements of a running service, which lock the same
tables in another order."""

_log = logging.getLogger("saldo.migrate")

Driver = psycopg.Connection[tuple[Any, ...]]
T = TypeVar("T")


class LockWatch:
    """Logs each process that blocks the migration, once. This context manager uses a separate thread and connection."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="migration lock watch", daemon=True
        )
        self._own_pid = 0
        self.last = ""
        """The description of the last blocker, as in the log; empty if there was none."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def set_own_pid(self, pid: int) -> None:
        """Set the process id of the migration's own server process, which holds the lock of the migrations and is not
        reported as a blocker."""
        self._own_pid = pid

    def _watch(self) -> None:
        # Most migrations finish within this time, and need no second connection.
        if self._ended.wait(2 * POLL_SECONDS):
            return
        seen: set[tuple[Any, ...]] = set()
        try:
            with psycopg.connect(
                self._url,
                connect_timeout=_CONNECT_SECONDS,
                application_name="saldo lock watch",
                autocommit=True,
            ) as connection:
                while not self._ended.wait(POLL_SECONDS):
                    self._poll(connection, seen)
        except psycopg.Error as error:
            _log.warning("can't determine which process blocks the migration: %s", error)

    def _poll(self, connection: Driver, seen: set[tuple[Any, ...]]) -> None:
        asked = {"name": APPLICATION_NAME, "own": self._own_pid}
        for row in connection.execute(load_statement("schema/migration_blockers"), asked):
            pid, application, query_start, transaction_start, state = row
            self.last = (
                f"process {pid} ({application or 'without an application_name'}; "
                f"{state or 'state not visible to this role'}; "
                f"transaction since {transaction_start or '?'}, query since {query_start or '?'})"
            )
            if (pid, transaction_start) not in seen:
                seen.add((pid, transaction_start))
                _log.warning("the migration is waiting for %s", self.last)


def set_attempt(driver: Driver) -> None:
    """Set the lock timeout of a transaction, and a time zone in which every day has 24 hours."""
    driver.execute(
        load_statement("schema/migration_session"), {"lock_timeout": f"{ATTEMPT_SECONDS}s"}
    )


def retry_until_locked(url: str, watch: LockWatch, attempt: Callable[[], T]) -> T:
    """Call a function repeatedly until it gets its locks.

    Raises:
        DatabaseUnavailableError: A lock was unavailable for LOCK_SECONDS_MAX. The message names the process that
            holds it.
    """
    end = time.monotonic() + LOCK_SECONDS_MAX
    while True:
        try:
            return attempt()
        except (*_NO_LOCK, sqlalchemy.exc.OperationalError) as error:
            if not isinstance(getattr(error, "orig", error), _NO_LOCK):
                raise
            if time.monotonic() >= end:
                holder = f" held by {watch.last}" if watch.last else ""
                raise DatabaseUnavailableError(
                    f"database {format_url(url)}: the migration did not get a lock{holder} within "
                    f"{LOCK_SECONDS_MAX:.0f} s: "
                    "end that transaction and start again"
                ) from error
        time.sleep(PAUSE_SECONDS)


def poll_migration_lock(url: str, driver: Driver, watch: LockWatch) -> None:
    """Wait until this transaction is the only one that migrates.

    Raises:
        DatabaseUnavailableError: Another process has been migrating for more than OTHER_SECONDS_MAX.
    """
    end = time.monotonic() + OTHER_SECONDS_MAX
    while True:
        set_attempt(driver)
        if driver.execute(load_statement("schema/migration_lock")).fetchone() == (True,):
            # The process id is queried with SQL, because behind a pooler the driver knows another one.
            row = driver.execute("SELECT pg_backend_pid()").fetchone()
            watch.set_own_pid(row[0] if row else 0)
            return
        driver.rollback()
        if time.monotonic() >= end:
            raise DatabaseUnavailableError(
                f"database {format_url(url)}: another process has been migrating for more than "
                f"{OTHER_SECONDS_MAX:.0f} s: "
                f"{watch.last}"
            )
        time.sleep(POLL_SECONDS)
