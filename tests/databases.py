"""A database with the two roles of docs/howto/postgresql.md on any server, gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from saldo.store.distributed.distribute import distribute
from saldo.store.embedded import EmbeddedServer
from saldo.store.migrate import prepare


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
def ledger_on(
    superuser_url: str,
    *,
    max_lateness: timedelta | None = None,
    distributed: bool | None = None,
    workers: int | None = None,
) -> Iterator[Database]:
    """A ledger on a server.

    Args:
        distributed: None: if the database that the URL names coordinates a Citus cluster.
        workers: see `on_citus`.
    """
    if distributed is None:
        distributed = has_citus(superuser_url)
    with on_citus(superuser_url, workers) if distributed else created(superuser_url) as database:
        prepare(
            database.owner_url,
            database.service_url,
            currency_decimals=2,
            max_lateness=max_lateness,
        )
        if distributed:
            distribute(database.owner_url, database.service_url)
        yield database


def has_citus(superuser_url: str) -> bool:
    """Whether the database coordinates a Citus cluster."""
    with psycopg.connect(superuser_url) as connection:
        row = connection.execute("SELECT to_regclass('pg_dist_node') IS NOT NULL").fetchone()
    return row == (True,)


@contextmanager
def on_citus(superuser_url: str, workers: int | None = None) -> Iterator[Database]:
    """Creates the database on every node of the cluster that the URL's database coordinates, and the roles.

    As docs/howto/scale-out.md says. Not distributed yet: `saldo.store.distributed.distribute` does that.

    Args:
        workers: how many of the nodes are to have shards; None: all that may.
    """
    with psycopg.connect(superuser_url, autocommit=True) as admin:
        nodes = admin.execute(
            "SELECT nodename, nodeport FROM pg_dist_node WHERE noderole = 'primary' AND shouldhaveshards"
            " ORDER BY nodeid LIMIT %s",
            (workers,),
        ).fetchall()
    here = urlsplit(superuser_url)
    name, password = f"saldo_test_{uuid4().hex[:12]}", uuid4().hex
    names = {
        "saldo_owner": sql.Identifier(f"{name}_owner"),
        "saldo": sql.Identifier(name),
        "password": sql.Literal(password),
    }
    urls = [superuser_url, *(at(superuser_url, *node) for node in nodes)]
    with ExitStack() as stack:
        for url in urls:
            stack.enter_context(_with_citus(url, name))
        with psycopg.connect(within(superuser_url, name), autocommit=True) as admin:
            admin.execute(
                "SELECT citus_set_coordinator_host(%s, %s)", (here.hostname, here.port or 5432)
            )
            for node in nodes:
                admin.execute("SELECT citus_add_node(%s, %s)", node)
            # In this database: a role that was made in another one Citus would have its owner make on the workers.
            for statement in (
                "CREATE ROLE {saldo_owner} LOGIN PASSWORD {password}",
                "CREATE ROLE {saldo} LOGIN PASSWORD {password}",
                "GRANT CREATE ON DATABASE {saldo} TO {saldo_owner}",
            ):
                admin.execute(sql.SQL(statement).format(**names))
        yield Database(
            _as_role(superuser_url, f"{name}_owner", password, name),
            _as_role(superuser_url, name, password, name),
        )
        stack.close()
        for url in urls:
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute("SET citus.enable_create_role_propagation = off")
                for role in ("saldo", "saldo_owner"):
                    drop = sql.SQL("DROP ROLE IF EXISTS {}")
                    admin.execute(drop.format(names[role]))


@contextmanager
def _with_citus(url: str, name: str) -> Iterator[None]:
    """The database on a node, which a test may stop and start meanwhile."""
    database = sql.Identifier(name)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(database))
    try:
        with psycopg.connect(within(url, name), autocommit=True) as inside:
            inside.execute("CREATE EXTENSION citus")
        yield
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))


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


def at(url: str, host: str, port: int) -> str:
    """The same role and database on another server."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{user}@{host}:{port}").geturl()


def within(url: str, database: str) -> str:
    """The same role on the same server, in another database."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def _as_role(url: str, role: str, password: str, database: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{password}@{host}", path=f"/{database}").geturl()
