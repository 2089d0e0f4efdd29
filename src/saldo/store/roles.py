"""The two roles: the owner of the schema, and the service's, which can append to the log and not alter it."""

from __future__ import annotations

import logging
from typing import NamedTuple

import psycopg
from psycopg import sql

from saldo.store.errors import SetUpError
from saldo.store.migrate import CONNECT_SECONDS_MAX
from saldo.store.statements import statement
from saldo.store.url import first_line, shown

_log = logging.getLogger("saldo.roles")


class Roles(NamedTuple):
    """Their names, and that of the database."""

    owner: str
    service: str
    database: str

    @classmethod
    def of(cls, owner_url: str, service_url: str) -> Roles:
        """As the connection strings name them.

        Raises:
            SetUpError: they don't, or it is one role for both.
        """
        owner, service = (
            psycopg.conninfo.conninfo_to_dict(url) for url in (owner_url, service_url)
        )
        if not owner.get("user") or not service.get("user") or not service.get("dbname"):
            raise SetUpError("the connection strings must name the roles and the database")
        if owner["user"] == service["user"]:
            raise SetUpError(
                f"one role for both, {owner['user']}, protects nothing: name the owner's in "
                "SALDO_DATABASE_OWNER_URL and another one in SALDO_DATABASE_URL"
            )
        return cls(str(owner["user"]), str(service["user"]), str(service["dbname"]))

    def written(self) -> str:
        """The SQL that makes them and grants what the service needs, for psql."""
        created = self._formatted("roles")
        granted = self._formatted("grants")
        return (
            f"{created}\n\n-- As {self.owner} in {self.database}, once the schema is there (saldo db migrate "
            f"does it, too).\n{granted}\n"
        )

    def apply(self, owner_url: str) -> None:
        """Grants the service's role what it needs, and revokes all else that it has in the schema, as the owner.

        Raises:
            SetUpError: one line for the operator.
        """
        try:
            with psycopg.connect(owner_url, connect_timeout=CONNECT_SECONDS_MAX) as connection:
                for name in ("revokes", "grants"):
                    connection.execute(self._composed(name))
        except psycopg.Error as error:
            raise SetUpError(f"database {shown(owner_url)}: {first_line(error)}") from error

    def _composed(self, name: str) -> sql.Composed:
        return sql.SQL(statement(name)).format(
            owner=sql.Identifier(self.owner),
            role=sql.Identifier(self.service),
            database=sql.Identifier(self.database),
        )

    def _formatted(self, name: str) -> str:
        return self._composed(name).as_string(None)


def warn_of_rights(service_url: str) -> None:
    """Warns, in one line, if the service's role could alter history.

    Raises:
        SetUpError: it can't be asked.
    """
    try:
        with psycopg.connect(service_url, connect_timeout=CONNECT_SECONDS_MAX) as connection:
            row = connection.execute(statement("role_rights")).fetchone()
    except psycopg.Error as error:
        raise SetUpError(f"database {shown(service_url)}: {first_line(error)}") from error
    assert row is not None
    role, superuser, owner, alters = row
    if superuser or owner or alters:
        what = "is a superuser" if superuser else "owns the log" if owner else "has such rights"
        _log.warning(
            "the service's role %s %s, so that it could alter history: give it a role of its own, "
            "see docs/howto/postgresql.md",
            role,
            what,
        )
