"""The two roles: the owner of the schema, and the service role, which can append to the log but not alter it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import psycopg
from psycopg import sql

from saldo.store.connections.parameters import check_connection_string
from saldo.store.connections.url import find_unverified_hosts, format_url, get_first_line
from saldo.store.errors import ConfigurationError
from saldo.store.schema.migrate import CONNECT_SECONDS_MAX
from saldo.store.statements import load_statement

_log = logging.getLogger("saldo.roles")


class Roles(NamedTuple):
    """The names of the two roles and of the database."""

    owner: str
    service: str
    database: str

    @classmethod
    def from_urls(cls, owner_role_url: str, service_role_url: str) -> Roles:
        """Read the names from the connection strings.

        Raises:
            ConfigurationError: A name is missing, or both roles are the same.
        """
        owner, service = (
            check_connection_string(url) for url in (owner_role_url, service_role_url)
        )
        if not owner.get("user") or not service.get("user") or not service.get("dbname"):
            raise ConfigurationError(
                "SALDO_DATABASE_OWNER_URL and SALDO_DATABASE_URL must name their roles and the "
                "database"
            )
        if owner["user"] == service["user"]:
            raise ConfigurationError(
                f"the owner and the service must have different roles, not both {owner['user']}: name the "
                "owner's role in "
                "SALDO_DATABASE_OWNER_URL, and another role in SALDO_DATABASE_URL"
            )
        return cls(str(owner["user"]), str(service["user"]), str(service["dbname"]))

    def to_sql(self) -> str:
        """Return the SQL that creates the roles and grants the service role its rights, for use in psql."""
        creation = self._format("roles/create")
        grants = self._format("roles/grant")
        return (
            f"{creation}\n\n-- As {self.owner} in {self.database}, once the schema is there (saldo db migrate "
            f"does it, too).\n{grants}\n"
        )

    def apply_to_database(self, owner_role_url: str) -> None:
        """Connect as the owner, grant the service role the rights that it needs, and revoke its other rights in the
        schema.

        Raises:
            ConfigurationError: The message is one line for the operator.
        """
        try:
            with psycopg.connect(owner_role_url, connect_timeout=CONNECT_SECONDS_MAX) as connection:
                for name in ("roles/revoke", "roles/grant"):
                    connection.execute(self._compose(name))
        except psycopg.Error as error:
            raise ConfigurationError(
                f"database {format_url(owner_role_url)}: {get_first_line(error)}"
            ) from error

    def _compose(self, name: str) -> sql.Composed:
        return sql.SQL(load_statement(name)).format(
            owner=sql.Identifier(self.owner),
            role=sql.Identifier(self.service),
            database=sql.Identifier(self.database),
        )

    def _format(self, name: str) -> str:
        return self._compose(name).as_string(None)


def warn_about_unverified_tls(urls: Mapping[str, str | None]) -> None:
    """Log a warning of one line for each connection string that crosses a network without verified TLS.

    The drivers' default is `sslmode=prefer`, which does not verify the server and falls back to an unencrypted
    connection.

    Args:
        urls: The connection strings, by the names of their settings. A value is None if the setting is not set.
    """
    for setting, url in urls.items():
        hosts = find_unverified_hosts(url) if url is not None else []
        if hosts:
            _log.warning(
                "the connections to %s are not protected: %s has no sslmode=verify-full, so the identity "
                "of the server is "
                "not verified; see TLS in docs/howto/postgresql.md",
                ", ".join(hosts),
                setting,
            )


def warn_about_rights(service_role_url: str) -> None:
    """Log a warning of one line if the service role could alter recorded entries.

    Raises:
        ConfigurationError: The database can't be queried.
    """
    try:
        with psycopg.connect(service_role_url, connect_timeout=CONNECT_SECONDS_MAX) as connection:
            row = connection.execute(load_statement("roles/history_altering_rights")).fetchone()
    except psycopg.Error as error:
        raise ConfigurationError(
            f"database {format_url(service_role_url)}: {get_first_line(error)}"
        ) from error
    assert row is not None
    role, superuser, owner, alters = row
    if superuser or owner or alters:
        capability = (
            "is a superuser" if superuser else "owns the log" if owner else "may change the log"
        )
        _log.warning(
            "the service's role %s %s, so it could change recorded history: use a dedicated role for the service "
            "(docs/howto/postgresql.md)",
            role,
            capability,
        )
