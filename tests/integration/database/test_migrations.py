"""Migrations of a ledger in use: they don't block the service, and report the sessions that they wait for."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy.pool import NullPool

from harness.postgresql import databases
from harness.postgresql.databases import Database
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import ConfigurationError
from saldo.store.schema import migration_locks
from saldo.store.schema.migrate import migrate_schema, prepare_schema
from saldo.store.statements import load_statement

MIGRATIONS = Path(str(files("saldo.store.schema.migrations"))) / "sql"

BEFORE_0012 = """
CREATE INDEX users_name_beginning ON saldo.users (lower(name) text_pattern_ops, id);
INSERT INTO saldo.ledger (currency_decimals, max_lateness, lateness_bound) VALUES (2, '1 day', '1 day');
"""

COLLATIONS = """
    SELECT c.relname, l.collname
    FROM pg_index AS i
    JOIN pg_class AS c ON c.oid = i.indexrelid
    CROSS JOIN LATERAL unnest(i.indcollation) AS u(oid)
    JOIN pg_collation AS l ON l.oid = u.oid
    WHERE c.relnamespace = 'saldo'::regnamespace
"""


def upgrade(owner_role_url: str, revision: str) -> None:
    """Migrate the schema to the revision of an older version."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(owner_role_url), poolclass=NullPool
    )
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(files("saldo.store.schema.migrations")))
        config.attributes["connection"] = connection
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(load_statement("schema/create"))
        command.upgrade(config, revision)
    engine.dispose()


@pytest.fixture
def older(embedded_server: EmbeddedServer) -> Iterator[Database]:
    """Yield a ledger of the version before the migration 0012, with some users."""
    with databases.create_embedded_database(embedded_server) as database:
        upgrade(database.owner_role_url, "0011")
        with psycopg.connect(database.owner_role_url) as connection:
            connection.execute(BEFORE_0012)
            connection.execute(
                "SELECT saldo.create_user_1('User-' || n) FROM generate_series(1, 20) AS n"
            )
            service = psycopg.conninfo.conninfo_to_dict(database.service_role_url)["user"]
            for line in load_statement("roles/grant").splitlines():
                is_newer = "known_until" in line or "saldo.head_publication" in line
                if line.startswith("GRANT") and not is_newer:
                    connection.execute(line.replace("{role}", f'"{service}"').encode())
        yield database


def collations(connection: psycopg.Connection) -> dict[str, str]:
    found: dict[str, str] = dict(connection.execute(COLLATIONS).fetchall())
    return {name: found[name] for name in found if not name.startswith("migrations")}


def test_a_migration_blocks_nobody_while_a_transaction_has_users_locked(
    older: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_locks, "ATTEMPT_SECONDS", 0.2)
    monkeypatch.setattr(migration_locks, "PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(migration_locks, "POLL_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "saldo.migrate")
    waits = threading.Event()

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "is waiting for process" in record.getMessage():
                waits.set()

    logging.getLogger("saldo.migrate").addHandler(seen := Seen())
    urls = (older.owner_role_url, older.service_role_url)
    migration = threading.Thread(target=migrate_schema, args=urls)
    try:
        with (
            psycopg.connect(older.owner_role_url, application_name="somebody's psql") as holder,
            psycopg.connect(older.service_role_url, autocommit=True) as old_service,
        ):
            holder.execute("LOCK TABLE saldo.users IN ROW EXCLUSIVE MODE")
            migration.start()
            assert waits.wait(30)
            old_service.execute("SET statement_timeout = '20s'")
            for n in range(5):
                old_service.execute("SELECT saldo.create_user_1(%s)", (f"meanwhile {n}",))
            assert migration.is_alive()
            holder.rollback()
            migration.join(60)
            old_service.execute("SELECT saldo.create_user_1('afterwards')")
    finally:
        logging.getLogger("saldo.migrate").removeHandler(seen)
        migration.join(60)
    (line,) = {line for line in caplog.messages if "is waiting for" in line}
    assert "somebody's psql" in line
    assert re.search(r"transaction since \d{4}-", line)
    with psycopg.connect(older.owner_role_url) as connection:
        assert set(collations(connection).values()) == {"C"}
        assert (
            connection.execute(
                "SELECT indisvalid FROM pg_index WHERE indrelid = 'saldo.users'::regclass"
            ).fetchall()
            == [(True,)] * 3
        )
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(
                "INSERT INTO saldo.users (name, created_at) VALUES ('User-1', now())"
            )


def test_migration_that_never_gets_its_lock_names_the_holder(
    older: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (
        ("ATTEMPT_SECONDS", 0.2),
        ("PAUSE_SECONDS", 0.1),
        ("POLL_SECONDS", 0.05),
        ("LOCK_SECONDS_MAX", 0.5),
    ):
        monkeypatch.setattr(migration_locks, name, seconds)
    with psycopg.connect(older.owner_role_url, application_name="a long transaction") as holder:
        holder.execute("SELECT * FROM saldo.cursors")
        with pytest.raises(ConfigurationError, match=r"held by process \d+ \(a long transaction"):
            migrate_schema(older.owner_role_url, older.service_role_url)


def test_migration_retries_after_a_deadlock_with_the_service(
    older: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Create a deadlock on `saldo.ledger` and `saldo.sinks`, which the service locks in the other order."""
    monkeypatch.setattr(migration_locks, "ATTEMPT_SECONDS", 30)
    monkeypatch.setattr(migration_locks, "PAUSE_SECONDS", 0.1)
    migration = threading.Thread(
        target=migrate_schema, args=(older.owner_role_url, older.service_role_url)
    )
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    with (
        psycopg.connect(older.owner_role_url) as service,
        psycopg.connect(older.owner_role_url, autocommit=True) as watch,
    ):
        # This makes the migration the one that detects the deadlock.
        service.execute("LOCK TABLE saldo.sinks IN ROW EXCLUSIVE MODE")
        migration.start()
        while watch.execute(waits, ("saldo.sinks",)).fetchone() != (1,):
            assert migration.is_alive()
        with suppress(
            psycopg.errors.DeadlockDetected
        ):  # on a machine that stood still for a second
            service.execute("SELECT FROM saldo.ledger")
    migration.join(60)
    assert not migration.is_alive()
    with psycopg.connect(older.owner_role_url) as connection:
        assert connection.execute(load_statement("schema/revision")).fetchone() == ("0014",)


@pytest.mark.parametrize("swapped", [False, True])
def test_unfinished_indexes_of_an_interrupted_attempt_are_rebuilt(
    older: Database, embedded_server: EmbeddedServer, swapped: bool
) -> None:
    urls = (older.owner_role_url, older.service_role_url)
    if swapped:
        migrate_schema(*urls)
        left = "users_name_prefix"
    else:
        with psycopg.connect(older.owner_role_url) as connection:
            connection.execute('CREATE UNIQUE INDEX users_name_c ON saldo.users (name COLLATE "C")')
        left = "users_name_c"
    dbname = psycopg.conninfo.conninfo_to_dict(older.owner_role_url)["dbname"]
    invalidate = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass"
    with psycopg.connect(embedded_server.superuser_url, dbname=dbname) as admin:
        admin.execute(invalidate, (f"saldo.{left}",))
    migrate_schema(*urls)
    with psycopg.connect(older.owner_role_url) as connection:
        assert set(collations(connection).values()) == {"C"}
        valid = "SELECT indisvalid FROM pg_index WHERE indrelid = 'saldo.users'::regclass"
        assert connection.execute(valid).fetchall() == [(True,)] * 3


def test_lateness_bound_in_calendar_days_is_widened(older: Database) -> None:
    prepare_schema(
        older.owner_role_url,
        older.service_role_url,
        currency_decimals=2,
        max_lateness=timedelta(days=1),
    )
    with psycopg.connect(older.owner_role_url) as connection:
        row = connection.execute("SELECT lateness_bound::text FROM saldo.ledger").fetchone()
    assert row == ("1 day 26:00:00",)


def test_previous_code_works_on_the_new_schema(older: Database) -> None:
    """Check the answers of post_2 and balance_1, and that a name is still found by an index."""
    migrate_schema(older.owner_role_url, older.service_role_url)
    with psycopg.connect(older.service_role_url, autocommit=True) as connection:
        connection.execute(
            "SELECT saldo.post_2(ARRAY[gen_random_uuid()], ARRAY[1], ARRAY[100], ARRAY[NULL::timestamptz],"
            " 1000, '5 min', 10, false)"
        )
        row = connection.execute("SELECT balance FROM saldo.balance_1(1, now(), NULL)").fetchone()
        assert row == (100,)
        connection.execute("SET enable_seqscan = off")
        plan = connection.execute(
            "EXPLAIN SELECT id FROM saldo.users WHERE name = 'User-7'"
        ).fetchall()
    assert any("users_name_unique" in line for (line,) in plan), plan


def test_no_migration_builds_an_index_on_an_existing_table() -> None:
    """Check the statements, because building an index locks its table until all steps of the migrations are done."""
    for path in MIGRATIONS.glob("*.sql"):
        text = path.read_text("utf-8")
        if "empty" in path.name:
            continue
        created = set(re.findall(r"CREATE TABLE (\S+)", text))
        for concurrently, table in re.findall(
            r"CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?\S+\s+ON (\S+)", text
        ):
            assert concurrently or table in created, f"{path.name}: {table}"


def test_a_database_with_another_encoding_is_rejected_in_one_line(machine_postgres: str) -> None:
    """Use the encoding of a server that was installed without a locale, as on a minimal Debian."""
    with databases.create_database(machine_postgres) as database:
        name = psycopg.conninfo.conninfo_to_dict(database.owner_role_url)["dbname"]
        with psycopg.connect(machine_postgres, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name}".encode())
            admin.execute(
                f"CREATE DATABASE {name} OWNER {name}_owner TEMPLATE template0"
                " ENCODING 'SQL_ASCII' LOCALE 'C'".encode()
            )
        with pytest.raises(ConfigurationError, match="has the encoding SQL_ASCII, and Saldo"):
            prepare_schema(
                database.owner_role_url,
                database.service_role_url,
                currency_decimals=2,
                max_lateness=None,
            )


def test_keys_compare_byte_by_byte_whatever_the_locale_of_the_database(
    machine_postgres: str,
) -> None:
    """Use a database whose locale sorts `a` before `B`; the key of names must sort differently and find each name."""
    names = [f"{letter}-{n}" for n in range(3) for letter in ("a", "B", "Ä", "ß", "co-op", "coop")]
    with databases.create_database(machine_postgres) as database:
        name = psycopg.conninfo.conninfo_to_dict(database.owner_role_url)["dbname"]
        with psycopg.connect(machine_postgres, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name}".encode())
            try:
                admin.execute(
                    f"CREATE DATABASE {name} OWNER {name}_owner TEMPLATE template0 ENCODING 'UTF8'"
                    " LOCALE_PROVIDER icu ICU_LOCALE 'en-US'".encode()
                )
            except psycopg.Error as error:
                pytest.skip(f"no database with a locale of ICU: {error}")
        urls = (database.owner_role_url, database.service_role_url)
        prepare_schema(*urls, currency_decimals=2, max_lateness=None)
        with psycopg.connect(database.service_role_url, autocommit=True) as connection:
            row = connection.execute("SELECT 'a' < 'B'").fetchone()
            assert row == (True,)  # the locale's order
            for each in names:
                connection.execute("SELECT saldo.create_user_1(%s)", (each,))
            assert set(collations(connection).values()) == {"C"}
            found = connection.execute("SELECT name FROM saldo.users ORDER BY name").fetchall()
            assert [each for (each,) in found] == sorted(names)
            connection.execute("SET enable_seqscan = off")
            for each in names:
                row = connection.execute(
                    "SELECT created FROM saldo.create_user_1(%s)", (each,)
                ).fetchone()
                assert row == (False,)
