"""Commands that only read: they change nothing in the database, and wait for no lock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner, Result

from harness.postgresql.databases import Database
from harness.postgresql.sample_ledger import fill
from saldo.cli.command_table import COMMANDS
from saldo.cli.program import build_app
from saldo.store.connections.connection import fetch, open_pool, read_only_pools
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import ConnectionLostError
from saldo.store.schema.migrate import prepare_schema
from saldo.store.statements import load_statement

READING_COMMANDS = {
    "verify": 0,
    "relay status": 0,
    "audit status": 0,
    "keys list": 0,
    "webhooks list": 0,
    "webhooks show 1": 1,
    "webhooks deliveries 1": 1,
}
"""Commands that open the database and only read, with their exit codes on a ledger without webhooks."""

WRITING_COMMANDS = {
    *("serve", "relay", "relay rewind", "audit acknowledge", "bench"),
    *("keys create", "keys revoke", "keys rotate"),
    *(
        "webhooks create",
        "webhooks delete",
        "webhooks replay",
        "webhooks enable",
        "webhooks disable",
    ),
    *("backup", "restore", "upgrade", "db migrate", "db roles", "db distribute"),
}
"""The operators' other commands: they change something, or open no serving database."""

CATALOG = """
    SELECT 'ledger', l::text FROM saldo.ledger AS l
    UNION ALL SELECT 'migrations', m::text FROM saldo.migrations AS m
    UNION ALL SELECT 'class', concat_ws(' ', c.relname, c.relkind, c.relowner, c.relacl, c.reloptions)
    FROM pg_class AS c WHERE c.relnamespace = 'saldo'::regnamespace
    UNION ALL SELECT 'proc', concat_ws(' ', p.oid, p.proname, p.proacl, p.proconfig) FROM pg_proc AS p
    WHERE p.pronamespace = 'saldo'::regnamespace
    UNION ALL SELECT 'schema', concat_ws(' ', n.nspowner, n.nspacl) FROM pg_namespace AS n WHERE n.nspname = 'saldo'
    UNION ALL SELECT 'constraint', concat_ws(' ', c.oid, c.conname) FROM pg_constraint AS c
    WHERE c.connamespace = 'saldo'::regnamespace
    UNION ALL SELECT 'sink', s::text FROM saldo.sinks AS s
    UNION ALL SELECT 'audit', a::text FROM saldo.audit AS a
    UNION ALL SELECT 'setting', concat_ws(' ', s.setdatabase, s.setrole, s.setconfig) FROM pg_db_role_setting AS s
    ORDER BY 1, 2
"""


@pytest.fixture
def ledger(
    own_ledger: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """Yield a ledger with history and a maximum lateness of a day, which the shell of the commands does not have."""
    fill(own_ledger)
    prepare_schema(
        own_ledger.owner_role_url,
        own_ledger.service_role_url,
        currency_decimals=2,
        max_lateness=timedelta(days=1),
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_DATABASE_URL", own_ledger.service_role_url)
    monkeypatch.setenv("SALDO_DATABASE_OWNER_URL", own_ledger.owner_role_url)
    monkeypatch.setenv("SALDO_CURRENCY_DECIMALS", "2")
    yield own_ledger


def run(command: str) -> Result:
    words = command.split()
    return CliRunner().invoke(build_app([words[0]]), words)


WITHOUT_DATABASE = {"seals key"}


def catalog(database: Database) -> list[Any]:
    with psycopg.connect(database.owner_role_url) as connection:
        return connection.execute(CATALOG.encode()).fetchall()


def commands() -> Iterator[str]:
    """Yield the operators' commands, as they are typed."""
    for name, command in COMMANDS.items():
        if command.panel != "Operate":
            continue
        group = get_command(build_app([name]))
        assert isinstance(group, typer.core.TyperGroup)
        found = group.commands[name]
        if isinstance(found, typer.core.TyperGroup):
            yield from (f"{name} {each}" for each in found.commands)
            if not found.no_args_is_help:
                yield name
        else:
            yield name


def test_no_command_is_left_out() -> None:
    looking = {command.removesuffix(" 1") for command in READING_COMMANDS}
    assert set(commands()) == looking | WRITING_COMMANDS | WITHOUT_DATABASE


@pytest.mark.parametrize("restricted", [False, True], ids=["service", "only SELECT"])
def test_reading_commands_change_nothing_and_wait_for_no_lock(
    ledger: Database, embedded_server: EmbeddedServer, restricted: bool
) -> None:
    """Run the commands while another session locks every shard and the migrations: none may need a lock."""
    if restricted:
        with psycopg.connect(ledger.owner_role_url) as owner:
            owner.execute("REVOKE ALL ON ALL TABLES IN SCHEMA saldo FROM saldo")
            owner.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA saldo FROM saldo")
            owner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA saldo TO saldo")
    before = catalog(ledger)
    with psycopg.connect(ledger.owner_role_url) as other:
        other.execute(load_statement("schema/migration_lock"))
        other.execute(load_statement("ledger/lock_all_shards"))
        for command, code in READING_COMMANDS.items():
            done = run(command)
            assert done.exit_code == code, (command, done.output, done.exception)
    assert catalog(ledger) == before


@pytest.mark.parametrize("command", READING_COMMANDS)
def test_schema_of_another_version_is_one_line(ledger: Database, command: str) -> None:
    with psycopg.connect(ledger.owner_role_url) as owner:
        owner.execute("UPDATE saldo.migrations SET version_num = '0001'")
    before = catalog(ledger)
    done = run(command)
    assert done.exit_code != 0
    assert "the schema is at 0001, but this version of Saldo requires" in done.output + str(
        done.exception
    )
    assert catalog(ledger) == before


def test_differing_setting_is_logged_and_not_changed(
    ledger: Database, caplog: pytest.LogCaptureFixture
) -> None:
    done = run("keys list")
    assert done.exit_code == 0
    assert (
        "SALDO_MAX_LATENESS_SECONDS is 86400 in the ledger, but not set in the settings of this process"
        in caplog.text
    )


async def test_reading_session_cannot_write(ledger: Database) -> None:
    """Check that the session is read-only, so that even a wrong statement can't write."""
    with read_only_pools():
        pool = await open_pool(ledger.service_role_url, connections=1, statement_timeout_seconds=5)
    try:
        with pytest.raises(ConnectionLostError, match="read-only"):
            await fetch(pool, "sinks/create", "test")
    finally:
        pool.terminate()


def test_missing_ledger_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_DATA_DIR", str(tmp_path / "nothing"))
    done = run("keys list --local")
    assert done.exit_code != 0
    assert "there is no ledger in" in str(done.exception)
    assert not (tmp_path / "nothing").exists()
