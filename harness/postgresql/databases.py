"""Temporary databases on any server, with the two roles of docs/howto/postgresql.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from saldo.store.citus.setup import distribute
from saldo.store.embedded import EmbeddedServer
from saldo.store.schema.migrate import prepare_schema


@dataclass(frozen=True)
class Database:
    """The connection strings of a database, and its name where a test needs it."""

    owner_role_url: str
    service_role_url: str
    name: str = ""


@contextmanager
def create_database(superuser_url: str) -> Iterator[Database]:
    """Create the roles and the database as the how-to page says, and drop them at the end."""
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
                # This is needed if the superuser has this power by a grant only, as on managed servers.
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
def create_ledger(
    superuser_url: str,
    *,
    max_lateness: timedelta | None = None,
    distributed: bool | None = None,
    workers: int | None = None,
) -> Iterator[Database]:
    """Create a ledger on a server.

    Args:
        distributed: whether to distribute the ledger; None means yes if the database in the URL coordinates a Citus
            cluster.
        workers: see `create_citus_database`.
    """
    if distributed is None:
        distributed = has_citus(superuser_url)
    with (
        create_citus_database(superuser_url, workers)
        if distributed
        else create_database(superuser_url) as database
    ):
        prepare_schema(
            database.owner_role_url,
            database.service_role_url,
            currency_decimals=2,
            max_lateness=max_lateness,
        )
        if distributed:
            distribute(database.owner_role_url, database.service_role_url)
        yield database


def has_citus(superuser_url: str) -> bool:
    """Return whether the database coordinates a Citus cluster."""
    with psycopg.connect(superuser_url) as connection:
        row = connection.execute("SELECT to_regclass('pg_dist_node') IS NOT NULL").fetchone()
    return row == (True,)


@contextmanager
def create_citus_database(superuser_url: str, workers: int | None = None) -> Iterator[Database]:
    """Create a database on every node of a Citus cluster, and its roles. The URL's database is the cluster's
    coordinator.

    The steps are those of docs/howto/scale-out.md. The ledger is not distributed yet: `saldo.store.citus.setup` does
    that.

    Args:
        workers: the number of nodes with shards; None for all.
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
    urls = [superuser_url, *(replace_server(superuser_url, *node) for node in nodes)]
    with ExitStack() as stack:
        for url in urls:
            stack.enter_context(_create_database_on_node(url, name))
        with psycopg.connect(replace_database(superuser_url, name), autocommit=True) as admin:
            admin.execute(
                "SELECT citus_set_coordinator_host(%s, %s)", (here.hostname, here.port or 5432)
            )
            for node in nodes:
                admin.execute("SELECT citus_add_node(%s, %s)", node)
            # The roles are created in this database. If they were created in another one, Citus would have its owner
            # create them on the workers.
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
def _create_database_on_node(url: str, name: str) -> Iterator[None]:
    """Create the database on a node, and drop it at the end. A test may restart the node in between."""
    database = sql.Identifier(name)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(database))
    try:
        with psycopg.connect(replace_database(url, name), autocommit=True) as inside:
            inside.execute("CREATE EXTENSION citus")
        yield
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))


@contextmanager
def create_embedded_database(
    server: EmbeddedServer, template: str = "template1"
) -> Iterator[Database]:
    """Create a database on the embedded server, and drop it at the end.

    Args:
        template: the database to copy.
    """
    name = f"saldo_test_{uuid4().hex[:12]}"
    database = sql.Identifier(name)
    with psycopg.connect(server.superuser_url, autocommit=True) as admin:
        create = sql.SQL("CREATE DATABASE {} OWNER saldo_owner TEMPLATE {}")
        admin.execute(create.format(database, sql.Identifier(template)))
        try:
            before, after = "@/saldo?", f"@/{name}?"
            yield Database(
                server.owner_role_url.replace(before, after),
                server.service_role_url.replace(before, after),
                name,
            )
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def replace_server(url: str, host: str, port: int) -> str:
    """Return a URL with the same role and database on another server."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{user}@{host}:{port}").geturl()


def replace_database(url: str, database: str) -> str:
    """Return a URL with the same role and server, and another database."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def _as_role(url: str, role: str, password: str, database: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{password}@{host}", path=f"/{database}").geturl()
