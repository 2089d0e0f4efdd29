"""`saldo upgrade`: migrating the embedded database of an older PostgreSQL to the current version."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from harness.postgresql.sample_ledger import build_deposit, create_users
from harness.program.settings import create_settings
from saldo.bootstrap.service import create_engine
from saldo.ledger.model import Outcome, TransactionRequest
from saldo.store.embedded import EmbeddedServer
from saldo.store.embedded.binaries import find_binaries
from saldo.store.embedded.server import OlderVersion
from saldo.store.embedded.upgrade import upgrade
from saldo.store.errors import ConfigurationError
from saldo.store.schema.migrate import prepare_schema
from tests.integration.database.test_backup import Row, identity, rows, serve_database


def older_version(major: str) -> OlderVersion:
    binaries = find_binaries(major)
    if binaries is None:
        pytest.skip(f"no programs of PostgreSQL {major}, in the wheel or where Debian puts them")
    return OlderVersion(major, binaries)


async def _create_older_ledger(data_dir: Path, older: OlderVersion) -> tuple[list[Row], str]:
    """Create a ledger in a database of the older version, and return its rows and its identity."""
    server = EmbeddedServer(data_dir, older=older)
    server.start()
    try:
        prepare_schema(
            server.owner_role_url, server.service_role_url, currency_decimals=2, max_lateness=None
        )
        users = create_users(server.service_role_url, 70)
        engine = create_engine(create_settings(server.service_role_url), server.service_role_url)
        engine.start()
        for user in users:
            await engine.post(build_deposit(user))
            await engine.post(TransactionRequest(uuid4(), user, -101, None))  # refused
        await engine.stop(5)
        return rows(server), identity(server)
    finally:
        server.stop()


@pytest.mark.parametrize("major", ["16", "15"])
async def test_an_older_database_is_refused_until_it_is_upgraded(
    tmp_path: Path, major: str
) -> None:
    before, identity_before = await _create_older_ledger(tmp_path, older_version(major))
    with pytest.raises(ConfigurationError, match=f"PostgreSQL {major}, .*: run saldo upgrade"):
        EmbeddedServer(tmp_path).start()

    done = upgrade(tmp_path, None)

    assert done is not None
    assert (done.before, done.after, done.integrity.entries) == (major, "18", len(before))
    assert (done.kept / "PG_VERSION").read_text().strip() == major
    assert not list(tmp_path.glob("*unfinished*"))
    assert upgrade(tmp_path, None) is None
    with serve_database(tmp_path) as server:
        assert rows(server) == before
        assert identity(server) != identity_before
        engine = create_engine(create_settings(server.service_role_url), server.service_role_url)
        engine.start()
        decision = await engine.post(TransactionRequest(uuid4(), 1, -100, None))
        await engine.stop(5)
        assert (decision.outcome, decision.balance) == (Outcome.POSTED, 0)
        with (
            psycopg.connect(server.service_role_url) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute("DELETE FROM saldo.transactions")


async def test_a_database_in_use_is_not_upgraded(tmp_path: Path) -> None:
    older = older_version("16")
    server = EmbeddedServer(tmp_path, older=older)
    server.start()
    try:
        with pytest.raises(ConfigurationError, match="in use by process"):
            upgrade(tmp_path, None)
    finally:
        server.stop()


async def test_an_upgrade_that_fails_leaves_the_old_database_as_it_was(tmp_path: Path) -> None:
    older = older_version("16")
    before, _ = await _create_older_ledger(tmp_path, older)
    with pytest.raises(
        ConfigurationError,
        match=r"--programs .*: the directory does not contain postgres of version 16",
    ):
        upgrade(tmp_path, tmp_path)
    _break_a_balance(tmp_path, older)
    with pytest.raises(ConfigurationError, match="not intact: balances wrong: 1") as caught:
        upgrade(tmp_path, None)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.glob("postgresql-*")} == {"postgresql-16"}
    server = EmbeddedServer(tmp_path, older=older)
    server.start()
    try:
        assert len(rows(server)) == len(before)
    finally:
        server.stop()


def _break_a_balance(data_dir: Path, older: OlderVersion) -> None:
    server = EmbeddedServer(data_dir, older=older)
    server.start()
    try:
        with psycopg.connect(server.ledger_url) as connection:
            connection.execute(
                "ALTER TABLE saldo.transactions DISABLE TRIGGER transactions_append_only"
            )
            connection.execute(
                "UPDATE saldo.transactions SET balance = balance + 1 WHERE user_id = 1 AND number = 1"
            )
            connection.execute(
                "ALTER TABLE saldo.transactions ENABLE TRIGGER transactions_append_only"
            )
    finally:
        server.stop()


async def test_a_database_that_is_newer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgresql-99").mkdir()
    with pytest.raises(ConfigurationError, match="but this version of Saldo uses PostgreSQL 18"):
        upgrade(tmp_path, None)
