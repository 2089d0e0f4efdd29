"""The embedded PostgreSQL server of all measurements, and fresh ledgers on it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import psycopg
from psycopg import sql

from harness.program.service import ServiceProcess, run_unforked_service
from saldo.store.embedded import EmbeddedServer
from saldo.store.schema.migrate import prepare_schema

TEMPLATE = "saldo"
"""Name of the database that the embedded server creates.

The database is migrated and filled with users once. After that it is the template of all ledgers.
"""


def read_statement(name: str) -> str:
    """Return the text of sql/<name>.sql."""
    return (files("benchmarks") / "sql" / f"{name}.sql").read_text("utf-8")


@dataclass(frozen=True)
class Ledger:
    """A ledger in its own database, with users 1, 2, 3 … and one more user for a long history."""

    owner_role_url: str
    service_role_url: str
    users: int
    directory: Path

    @property
    def history_user(self) -> int:
        """The id of the extra user whose history the history benchmark makes long."""
        return self.users + 1

    @contextmanager
    def serve(self, **settings: str) -> Iterator[ServiceProcess]:
        """Run the service on this ledger, as users start it."""
        urls = {
            "SALDO_DATABASE_URL": self.service_role_url,
            "SALDO_DATABASE_OWNER_URL": self.owner_role_url,
        }
        with run_unforked_service(self.directory, **urls, **settings) as running:
            yield running

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection[Any]]:
        """Connect as the owner, in autocommit mode."""
        with psycopg.connect(self.owner_role_url, autocommit=True) as connection:
            yield connection

    def query(self, name: str, *arguments: Any) -> list[Any]:
        """Return the rows of the statement in sql/<name>.sql."""
        with self.connect() as connection:
            return connection.execute(read_statement(name).encode(), arguments).fetchall()

    def set_max_lateness(self, max_lateness: timedelta | None) -> None:
        """Set the maximum lateness, as a restart with `SALDO_MAX_LATENESS_SECONDS` does."""
        prepare_schema(
            self.owner_role_url,
            self.service_role_url,
            currency_decimals=2,
            max_lateness=max_lateness,
        )


class Ledgers:
    """A context manager that runs the server and prepares the template database."""

    def __init__(self, directory: Path, users: int) -> None:
        self._directory = directory
        self._users = users
        self._server = EmbeddedServer(directory / "data")

    def __enter__(self) -> Ledgers:
        self._server.start()
        try:
            template = self._ledger(TEMPLATE)
            template.set_max_lateness(None)
            template.query("create_users", template.history_user)
        except BaseException:
            self._server.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop()

    @property
    def pid(self) -> int:
        """The process id of the postmaster. All other processes of the server are its children."""
        return cast("int", self._server.pid)

    @property
    def data_directory(self) -> Path:
        """The server's data directory."""
        return self._directory / "data"

    @contextmanager
    def fresh(self) -> Iterator[Ledger]:
        """Create a ledger without transactions, and drop it at the end."""
        name = f"bench_{secrets.token_hex(4)}"
        self._execute("CREATE DATABASE {name} OWNER saldo_owner TEMPLATE {template}", name)
        try:
            yield self._ledger(name)
        finally:
            self._execute("DROP DATABASE {name} WITH (FORCE)", name)

    def settle(self) -> None:
        """Run a checkpoint, so that all measurements start in the same state."""
        self._execute("CHECKPOINT", TEMPLATE)

    def superuser_url(self, ledger: Ledger) -> str:
        """Return the superuser's connection string for the database of a ledger."""
        database = ledger.owner_role_url.partition("@/")[2]
        return self._server.superuser_url.partition("@/")[0] + "@/" + database

    def wal_bytes(self) -> int:
        """Return the number of bytes of WAL that the server has written so far."""
        with psycopg.connect(self._server.superuser_url, autocommit=True) as connection:
            row = connection.execute(read_statement("wal_bytes").encode()).fetchone()
        return int(row[0]) if row else 0

    def version(self) -> str:
        """Return the version of PostgreSQL."""
        with psycopg.connect(self._server.superuser_url) as connection:
            return connection.info.parameter_status("server_version") or "?"

    def _ledger(self, name: str) -> Ledger:
        before, after = f"@/{TEMPLATE}?", f"@/{name}?"
        return Ledger(
            self._server.owner_role_url.replace(before, after),
            self._server.service_role_url.replace(before, after),
            self._users,
            self._directory,
        )

    def _execute(self, text: str, name: str) -> None:
        names = {"name": sql.Identifier(name), "template": sql.Identifier(TEMPLATE)}
        with psycopg.connect(self._server.superuser_url, autocommit=True) as connection:
            connection.execute(sql.SQL(cast("Any", text)).format(**names))
