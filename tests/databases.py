"""A database with the two roles of docs/howto/postgresql.md on any server, gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from saldo.store.embedded import EmbeddedServer


@dataclass(frozen=True)
class Database:
    """Its connection strings."""

    owner_url: str
    service_url: str


@contextmanager
def created(superuser_url: str) -> Iterator[Database]:
    """Creates the roles and the database as the how-to says; drops them at the end."""
    name, password = f"saldo_test_{uuid4().hex[:12]}", uuid4().hex
    owner = f"{name}_owner"
    names = {
        "saldo_owner": sql.Identifier(owner),
        "saldo": sql.Identifier(name),
        "password": sql.Literal(password),
    }
    with psycopg.connect(superuser_url, autocommit=True) as admin:
        try:
            for statement in (
                "CREATE ROLE {saldo_owner} LOGIN PASSWORD {password}",
                "CREATE ROLE {saldo} LOGIN PASSWORD {password}",
                # Where the superuser is one by grant only, as on managed servers.
                "GRANT {saldo_owner} TO CURRENT_USER",
                "CREATE DATABASE {saldo} OWNER {saldo_owner}",
                "REVOKE CONNECT, TEMPORARY ON DATABASE {saldo} FROM PUBLIC",
                "GRANT CONNECT ON DATABASE {saldo} TO {saldo}",
            ):
                admin.execute(sql.SQL(statement).format(**names))
            yield Database(
                _as_role(superuser_url, owner, password, name),
                _as_role(superuser_url, name, password, name),
            )
        finally:
            for statement in (
                "DROP DATABASE IF EXISTS {saldo} WITH (FORCE)",
                "DROP ROLE IF EXISTS {saldo}",
                "DROP ROLE IF EXISTS {saldo_owner}",
            ):
                admin.execute(sql.SQL(statement).format(**names))


@contextmanager
def on_embedded(server: EmbeddedServer) -> Iterator[Database]:
    """One more database of the embedded server; dropped at the end."""
    name = f"saldo_test_{uuid4().hex[:12]}"
    database = sql.Identifier(name)
    with psycopg.connect(server.superuser_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER saldo_owner").format(database))
        try:
            before, after = "@/saldo?", f"@/{name}?"
            yield Database(
                server.owner_url.replace(before, after), server.service_url.replace(before, after)
            )
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def _as_role(url: str, role: str, password: str, database: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{password}@{host}", path=f"/{database}").geturl()
