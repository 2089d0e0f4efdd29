"""The page about managed PostgreSQL: its SQL as roles without superuser, its connection strings, its parameters."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg import sql

from harness.postgresql.databases import replace_database
from harness.program.environment import copy_environment
from harness.program.service import run_service_process
from saldo.store.connections.parameters import (
    IGNORED_VALUES,
    IMPLEMENTED_HERE,
    OTHER_DRIVERS_PARAMETERS,
    PASSED_ON,
    build_driver_options,
    check_connection_string,
)
from saldo.store.connections.url import find_unverified_hosts
from saldo.store.errors import ConfigurationError

PAGE = (Path(__file__).parents[3] / "docs/howto/managed-postgresql.md").read_text("utf-8")

URLS = re.findall(r"^postgresql://\S+$", PAGE, re.MULTILINE)

UNVERIFIED = {"10.20.0.3", "127.0.0.1"}
"""Hosts of the page that `verify-full` can't be used with, as the page says."""

ATTRIBUTES = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"


def sql_blocks() -> list[str]:
    """Return the SQL of the page: the settings, as administrator, as owner, and for an existing database."""
    return re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


def rename(block: str, name: str) -> list[str]:
    """Return the statements of a block with names of the test instead of those of the page."""
    for original, changed in (
        ("saldo_owner", f"{name}_owner"),
        ("DATABASE saldo", f"DATABASE {name}"),
        ("DATABASE postgres", f"DATABASE {name}"),
        ("ROLE saldo ", f"ROLE {name} "),
        ("TO saldo;", f"TO {name};"),
    ):
        block = block.replace(original, changed)
    return [statement for statement in block.split(";") if statement.strip()]


def as_role(url: str, role: str, password: str, database: str) -> str:
    """Return the URL of a database with another role."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    return urlsplit(url)._replace(netloc=f"{role}:{password}@{host}", path=f"/{database}").geturl()


def execute(url: str, statements: list[str]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@contextmanager
def create_administrator(superuser_url: str, name: str) -> Iterator[str]:
    """Create a role that may create roles and databases, as providers give it, and yield its URL.

    Everything whose name begins with the given name is dropped at the end.
    """
    role, password = f"{name}_admin", uuid4().hex
    create = sql.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB PASSWORD {}")
    with psycopg.connect(superuser_url, autocommit=True) as admin:
        admin.execute(create.format(sql.Identifier(role), sql.Literal(password)))
        try:
            yield as_role(superuser_url, role, password, "postgres")
        finally:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            admin.execute(drop.format(sql.Identifier(name)))
            for each in (name, f"{name}_owner", role):
                admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(each)))


def run_commands(directory: Path, database: str, owner: str) -> None:
    """Run the commands of the page with the connection strings of both roles."""
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    program = directory / "saldo"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m saldo "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=directory,
        env=copy_environment()
        | {
            "PATH": f"{directory}:{os.environ['PATH']}",
            "SALDO_DATABASE_URL": database,
            "SALDO_DATABASE_OWNER_URL": owner,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def check_service(directory: Path, database: str) -> None:
    """Check that the service works with its own role only, and that no warning is logged about the role's rights."""
    with run_service_process(directory, SALDO_DATABASE_URL=database) as running:
        created = httpx.post(f"{running.url}/v1/user", json={"name": "a"})
        assert created.status_code == 201
        assert '"logger": "saldo.roles"' not in running.output()


@pytest.mark.postgres
def test_administrator_without_superuser_creates_everything(
    machine_postgres: str, tmp_path: Path
) -> None:
    name = f"saldo_test_{uuid4().hex[:12]}"
    _, as_administrator, as_owner, _ = sql_blocks()
    service = as_role(machine_postgres, name, "choose-another", name)
    owner = as_role(machine_postgres, f"{name}_owner", "choose-one", name)
    with create_administrator(machine_postgres, name) as administrator:
        execute(administrator, rename(as_administrator, name))
        execute(owner, rename(as_owner, name))
        with psycopg.connect(machine_postgres) as admin:
            powers = admin.execute(
                f"SELECT rolname FROM pg_roles WHERE rolname IN (%s, %s) AND ({ATTRIBUTES})".encode(),
                (name, f"{name}_owner"),
            )
            assert powers.fetchall() == []
        run_commands(tmp_path, service, owner)
        check_service(tmp_path, service)
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(replace_database(administrator, name)).close()


@pytest.mark.postgres
def test_owner_of_the_schema_need_not_own_the_database(
    machine_postgres: str, tmp_path: Path
) -> None:
    name = f"saldo_test_{uuid4().hex[:12]}"
    *_, in_existing = sql_blocks()
    service = as_role(machine_postgres, name, "choose-another", name)
    owner = as_role(machine_postgres, f"{name}_owner", "choose-one", name)
    with create_administrator(machine_postgres, name) as administrator:
        execute(administrator, [f"CREATE DATABASE {name}"])
        execute(administrator, rename(in_existing, name))
        run_commands(tmp_path, service, owner)


@pytest.mark.postgres
def test_settings_of_the_server_are_those_that_the_page_asks_for(machine_postgres: str) -> None:
    query, *_ = sql_blocks()
    with psycopg.connect(machine_postgres) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    assert row[:4] == ("on", "on", "read committed", "off")
    assert row[4] >= 150000


@pytest.mark.parametrize("url", URLS)
def test_connection_strings_are_accepted_by_both_drivers(url: str) -> None:
    assert check_connection_string(url)["user"].startswith("saldo")
    build_driver_options(url)
    hosts = set(check_connection_string(url)["host"].split(","))
    assert bool(find_unverified_hosts(url)) == (hosts == {"10.20.0.3"})
    assert "verify-full" in url or hosts <= UNVERIFIED


def test_string_that_neon_shows_is_rejected_by_name() -> None:
    (query,) = re.findall(r"\?sslmode=require&channel_binding=require", PAGE)
    with pytest.raises(ConfigurationError, match="channel_binding"):
        check_connection_string(f"postgresql://saldo:x@ep-a.aws.neon.tech/saldo{query}")


def test_table_lists_every_parameter_of_libpq_with_its_effect() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    names = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    # psycopg sets this parameter itself.
    names.discard("fallback_application_name")
    for name in names:
        effect = table[name]
        if name in PASSED_ON | IMPLEMENTED_HERE:
            assert effect == "works", name
        elif name in IGNORED_VALUES:
            values = set(re.findall(r"`([^`]+)`", effect))
            assert effect.startswith("only "), name
            assert values == IGNORED_VALUES[name], name
        else:
            assert effect == "rejected", name
            with pytest.raises(ConfigurationError, match=f" {name} "):
                check_connection_string(f"postgresql://saldo:x@db.example/saldo?{name}=1")
    # Newer names, which an older libpq does not know, may be in the table as well.
    assert set(table) - names <= IGNORED_VALUES.keys() | {"sslkeylogfile"} | {
        name for name in table if name.startswith("oauth_")
    }


def test_parameters_of_other_drivers_are_listed() -> None:
    section = PAGE.split("parameters of other drivers into connection strings.")[1].split("\n## ")[
        0
    ]
    assert set(re.findall(r"`(\w+)`", section)) == OTHER_DRIVERS_PARAMETERS
