"""Rights of the service's role: it can't alter history on any server, and what it can do wrong is detected."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from harness.postgresql import databases
from harness.postgresql.databases import Database
from harness.postgresql.sample_ledger import fill, insert, seal, superuser_url
from harness.program.settings import create_settings
from saldo.bootstrap.database import Database as Prepared
from saldo.cli.program import build_app
from saldo.store.schema.migrate import prepare_schema
from saldo.store.schema.roles import Roles, warn_about_rights
from saldo.store.statements import load_statement

ROOT = Path(__file__).parents[3]

DENIED = [
    "UPDATE saldo.transactions SET balance = 1",
    "UPDATE saldo.transactions SET amount = amount WHERE false",
    "DELETE FROM saldo.transactions",
    "TRUNCATE saldo.transactions",
    "MERGE INTO saldo.transactions AS t USING (SELECT 1) AS o ON t.seq = 1 WHEN MATCHED THEN DELETE",
    """INSERT INTO saldo.transactions SELECT * FROM saldo.transactions
        ON CONFLICT ON CONSTRAINT transactions_pkey DO UPDATE SET balance = 1""",
    "SELECT * FROM saldo.transactions FOR UPDATE",
    "BEGIN; LOCK TABLE saldo.transactions IN ACCESS EXCLUSIVE MODE",
    "ALTER TABLE saldo.transactions DISABLE TRIGGER transactions_append_only",
    "ALTER TABLE saldo.transactions DROP CONSTRAINT transactions_never_negative",
    "ALTER TABLE saldo.transactions ALTER COLUMN balance SET DEFAULT 1",
    "ALTER TABLE saldo.transactions RENAME TO gone",
    "ALTER TABLE saldo.transactions OWNER TO CURRENT_USER",
    "DROP TABLE saldo.transactions",
    "DROP SCHEMA saldo CASCADE",
    "DROP TRIGGER transactions_append_only ON saldo.transactions",
    "DROP FUNCTION saldo.refuse_to_alter_history() CASCADE",
    "SET session_replication_role = replica",
    "ALTER SYSTEM SET session_replication_role = replica",
    "CREATE TRIGGER forge BEFORE INSERT ON saldo.transactions EXECUTE FUNCTION saldo.refuse_to_alter_history()",
    "CREATE RULE forge AS ON INSERT TO saldo.transactions DO INSTEAD NOTHING",
    "CREATE POLICY forge ON saldo.transactions USING (false)",
    """CREATE OR REPLACE FUNCTION saldo.refuse_to_alter_history() RETURNS trigger
        LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'""",
    "CREATE FUNCTION saldo.forge() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE saldo.forged (seq bigint)",
    "CREATE EVENT TRIGGER forge ON ddl_command_end EXECUTE FUNCTION saldo.refuse_to_alter_history()",
    "UPDATE pg_catalog.pg_trigger SET tgenabled = 'D'",
    "UPDATE saldo.seals SET root = root",
    "DELETE FROM saldo.seals",
    "TRUNCATE saldo.seals",
    "ALTER TABLE saldo.seals DISABLE TRIGGER seals_append_only",
    "UPDATE saldo.users SET name = 'another' WHERE id = 1",
    "DELETE FROM saldo.users",
    "UPDATE saldo.ledger SET currency_decimals = 0",
    "DELETE FROM saldo.audit_faults",
    "DELETE FROM saldo.totals",
    "DELETE FROM saldo.keys",
    "CREATE ROLE another SUPERUSER",
    "SET SESSION AUTHORIZATION DEFAULT; SET ROLE {owner}",
    "GRANT {owner} TO CURRENT_USER",
    "COPY saldo.transactions FROM PROGRAM 'true'",
    "COPY saldo.transactions TO '/dev/null'",
]


@dataclass(frozen=True)
class Ledger:
    database: Database
    superuser_url: str


@pytest.fixture(params=["embedded", "another server"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """Yield a ledger with some entries."""
    if request.param == "embedded":
        database: Database = request.getfixturevalue("own_ledger")
        fill(database)
        yield Ledger(database, superuser_url(database))
        return
    url: str = request.getfixturevalue("machine_postgres")
    with databases.create_database(url) as database:
        prepare_schema(
            database.owner_role_url,
            database.service_role_url,
            currency_decimals=2,
            max_lateness=None,
        )
        fill(database)
        name = database.service_role_url.rpartition("/")[2]
        yield Ledger(database, f"{url.rpartition('/')[0]}/{name}")


def history(connection: psycopg.Connection) -> object:
    return connection.execute(
        "SELECT t::text FROM saldo.transactions AS t ORDER BY shard, seq"
    ).fetchall()


def test_service_role_cannot_alter_history(ledger: Ledger) -> None:
    owner = Roles.from_urls(ledger.database.owner_role_url, ledger.database.service_role_url).owner
    with psycopg.connect(ledger.database.service_role_url, autocommit=True) as connection:
        before = history(connection)
        # This gives only a warning and has no effect, as the following shows.
        connection.execute("GRANT ALL ON saldo.transactions TO PUBLIC")
        for load_statement in DENIED:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(load_statement.format(owner=owner).encode())
            connection.rollback()
        # The right to append doesn't help either.
        row = b"1\t1\t0\t0\t9\t-infinity\t-infinity\tnow\t00000000-0000-0000-0000-000000000001\t1\t0\t0\n"
        with (
            pytest.raises(psycopg.errors.IntegrityError),
            connection.cursor() as cursor,
            cursor.copy("COPY saldo.transactions FROM STDIN") as copy,
        ):
            copy.write(row)
        assert history(connection) == before


def test_each_statement_is_denied_only_by_missing_rights(ledger: Ledger) -> None:
    """Run each statement as the superuser, whom no right stops: if it fails, it fails because of the trigger."""
    owner = Roles.from_urls(ledger.database.owner_role_url, ledger.database.service_role_url).owner
    with psycopg.connect(ledger.superuser_url) as connection:
        for load_statement in DENIED:
            if (
                "ALTER SYSTEM" in load_statement
                or "GRANT {owner}" in load_statement
                or "PROGRAM" in load_statement
            ):
                continue  # no transaction possible; no right needed; another user's files
            if "EVENT TRIGGER" in load_statement:
                continue  # our function can't be used for it
            try:
                with connection.transaction(force_rollback=True):
                    connection.execute(load_statement.format(owner=owner).encode())
            except psycopg.errors.RestrictViolation as refused:
                assert "is refused" in str(refused)
            except psycopg.errors.InsufficientPrivilege as denied:
                # Some servers allow this to no role.
                assert "pg_trigger" in load_statement, denied


def test_guard_triggers_protect_the_owner_from_accidents(ledger: Ledger) -> None:
    with psycopg.connect(ledger.database.owner_role_url, autocommit=True) as connection:
        for table in ("transactions", "seals"):
            for load_statement in (f"DELETE FROM saldo.{table}", f"TRUNCATE saldo.{table}"):
                with pytest.raises(psycopg.errors.RestrictViolation):
                    connection.execute(load_statement.encode())


def test_a_forged_entry_can_be_appended_and_is_found(
    own_ledger: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Insert an entry as the service's role, which needs that right, and check that verification detects it."""
    fill(own_ledger)
    seal(own_ledger)
    with psycopg.connect(own_ledger.service_role_url, autocommit=True) as connection:
        uuid = insert(connection, 1, 21, number=21, balance=10**9)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_DATABASE_URL", own_ledger.service_role_url)
    done = CliRunner().invoke(build_app(["verify"]), ["verify"])
    assert done.exit_code == 1
    assert done.stdout.startswith(
        f"shard 1, seq 22, uuid {uuid}, user 1, number 21: balance: found 1000000000, expected 390"
    )


def test_manual_grants_are_revoked(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = Roles.from_urls(ledger.database.owner_role_url, ledger.database.service_role_url)
    with psycopg.connect(ledger.database.owner_role_url, autocommit=True) as connection:
        connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA saldo TO {roles.service}".encode())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_DATABASE_URL", ledger.database.service_role_url)
    monkeypatch.setenv("SALDO_DATABASE_OWNER_URL", ledger.database.owner_role_url)
    done = CliRunner().invoke(build_app(["db"]), ["db", "roles", "--apply"])
    assert (done.exit_code, done.stdout) == (
        0,
        f"the role {roles.service} has the rights that the service needs, and no others\n",
    )
    with psycopg.connect(ledger.database.service_role_url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("TRUNCATE saldo.users")
        connection.execute("SELECT * FROM saldo.create_user_1('after')")


def test_printed_role_statements_work(
    embedded_server: object, machine_postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Use names that need quotes, on a server where they don't exist yet."""
    owner, service, name = 'saldo test "owner"', "saldo-test", "saldo test"
    host = machine_postgres.rpartition("@")[2].rpartition("/")[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_DATABASE_URL", f"postgresql://{service}@{host}/saldo%20test")
    monkeypatch.setenv(
        "SALDO_DATABASE_OWNER_URL", f"postgresql://saldo%20test%20%22owner%22@{host}/saldo%20test"
    )
    done = CliRunner().invoke(build_app(["db"]), ["db", "roles"])
    assert done.exit_code == 0
    create, _, grant = done.stdout.partition("\n\n-- As ")
    with psycopg.connect(machine_postgres, autocommit=True) as admin:
        try:
            for load_statement in create.split(";"):
                if load_statement.strip():
                    admin.execute(load_statement.encode())
            found = admin.execute(
                "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", (name,)
            )
            assert found.fetchone() == (owner,)
        finally:
            for load_statement in (
                f'DROP DATABASE IF EXISTS "{name}"',
                f'DROP ROLE IF EXISTS "{service}"',
                'DROP ROLE IF EXISTS "saldo test ""owner"""',
            ):
                admin.execute(load_statement.encode())
    assert f'GRANT INSERT ON saldo.transactions, saldo.users TO "{service}";' in grant


def test_one_role_for_owner_and_service_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_DATABASE_URL", "postgresql://one@127.0.0.1/saldo")
    done = CliRunner().invoke(build_app(["db"]), ["db", "roles"])
    assert "the owner and the service must have different roles, not both one" in str(
        done.exception
    )
    monkeypatch.setenv("SALDO_DATABASE_URL", "")
    assert (
        'CREATE DATABASE "saldo" OWNER "saldo_owner" TEMPLATE template0 ENCODING '
        "'UTF8';" in CliRunner().invoke(build_app(["db"]), ["db", "roles"]).stdout
    )


def test_role_that_could_alter_history_is_logged_at_the_start(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    def collect_warnings(url: str) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            warn_about_rights(url)
        return [record.getMessage() for record in caplog.records]

    roles = Roles.from_urls(ledger.database.owner_role_url, ledger.database.service_role_url)
    assert collect_warnings(ledger.database.service_role_url) == []
    (owner,) = collect_warnings(ledger.database.owner_role_url)
    assert owner.startswith(f"the service's role {roles.owner} owns the log, so it could change")
    (superuser,) = collect_warnings(ledger.superuser_url)
    assert " is a superuser, so it could change" in superuser
    with psycopg.connect(ledger.database.owner_role_url, autocommit=True) as connection:
        connection.execute(f"GRANT DELETE ON saldo.seals TO {roles.service}".encode())
    (granted,) = collect_warnings(ledger.database.service_role_url)
    assert " may change the log, so it could change" in granted


def test_start_warns_about_a_role_with_too_many_rights(
    own_ledger: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with Prepared(create_settings(own_ledger.owner_role_url)):
        pass
    assert [record.getMessage() for record in caplog.records if record.name == "saldo.roles"]


def test_the_how_to_lists_exactly_the_rights_that_are_granted() -> None:
    """Compare the page with the grants, because auditors rely on it."""
    granted: set[tuple[str, str]] = set()
    for rights, tables in re.findall(
        r"^GRANT ([A-Z, ]+?)(?: \([a-z_, ]+\))? ON (saldo\.[a-z_., ]+) TO",
        load_statement("roles/grant"),
        re.MULTILINE,
    ):
        granted |= {
            (table.strip(), right.strip())
            for table in tables.split(",")
            for right in rights.split(",")
        }
    page = (ROOT / "docs/howto/postgresql.md").read_text("utf-8")
    listed: set[tuple[str, str]] = set()
    for tables, rights in re.findall(r"^\| (`saldo\..+?) \| (.+?) \|$", page, re.MULTILINE):
        listed |= {
            (table, right.strip())
            for table in re.findall(r"`(saldo\.[a-z_]+)`", tables)
            for right in rights.split(",")
        }
    assert listed == granted
