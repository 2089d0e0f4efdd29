"""Rules that are stored in the database, and how readers use them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from saldo.ledger.model import Outcome
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import ConfigurationError
from saldo.store.schema.migrate import prepare_schema

DAY = timedelta(days=1)
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    embedded = EmbeddedServer(tmp_path)
    embedded.start()
    try:
        yield embedded
    finally:
        embedded.stop()


def create_user(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT id FROM saldo.create_user_1(%s)", (str(uuid4()),)).fetchone()
    assert row is not None
    return int(row[0])


def deposit(connection: psycopg.Connection, user_id: int, moment: datetime) -> Outcome:
    row = connection.execute(
        "SELECT outcomes FROM saldo.post_2(%s::uuid[], %s::bigint[], %s::bigint[], %s::timestamptz[],"
        " 1000000, '5 minutes', 100, false)",
        ([uuid4()], [user_id], [100], [moment]),
    ).fetchone()
    assert row is not None
    return Outcome(row[0][0])


def test_lateness_follows_the_setting_and_readers_the_recorded_maximum(
    server: EmbeddedServer,
) -> None:
    def configure(lateness: timedelta | None) -> timedelta | None:
        prepare_schema(
            server.owner_role_url,
            server.service_role_url,
            currency_decimals=2,
            max_lateness=lateness,
        )
        row = connection.execute("SELECT lateness_bound FROM saldo.ledger").fetchone()
        assert row is not None
        bound: timedelta | None = row[0]
        return bound

    prepare_schema(
        server.owner_role_url, server.service_role_url, currency_decimals=2, max_lateness=None
    )
    with psycopg.connect(server.service_role_url, autocommit=True) as connection:
        user_id = create_user(connection)
        assert deposit(connection, user_id, BEGIN + 10 * DAY) is Outcome.POSTED
        assert deposit(connection, user_id, BEGIN) is Outcome.POSTED
        # The log has an entry that is ten days late, so readers must continue to search that far.
        assert configure(DAY) == 10 * DAY
        assert deposit(connection, user_id, BEGIN + 8 * DAY) is Outcome.TIMESTAMP_TOO_LATE
        assert deposit(connection, user_id, BEGIN + 9 * DAY) is Outcome.POSTED
        balances = []
        for days in (0, 5, 9, 10):
            row = connection.execute(
                "SELECT balance FROM saldo.balance_1(%s, %s, NULL)",
                (user_id, BEGIN + days * DAY),
            ).fetchone()
            assert row is not None
            balances.append(row[0])
        assert balances == [100, 100, 200, 300]
        assert configure(30 * DAY) == 30 * DAY
        assert configure(None) is None


def test_a_role_without_the_owners_rights_can_start_on_a_prepared_database(
    server: EmbeddedServer,
) -> None:
    prepare_schema(
        server.owner_role_url, server.service_role_url, currency_decimals=2, max_lateness=None
    )
    prepare_schema(
        server.service_role_url, server.service_role_url, currency_decimals=2, max_lateness=None
    )
    with pytest.raises(ConfigurationError, match="created with 2"):
        prepare_schema(
            server.service_role_url, server.service_role_url, currency_decimals=0, max_lateness=None
        )


def test_known_at_read_waits_for_the_batch_in_progress(server: EmbeddedServer) -> None:
    """Check that a read as of a moment waits for a batch that has read its clock and not committed yet."""
    prepare_schema(
        server.owner_role_url, server.service_role_url, currency_decimals=2, max_lateness=None
    )
    with (
        psycopg.connect(server.service_role_url) as writer,
        psycopg.connect(server.service_role_url, autocommit=True) as reader,
    ):
        user_id = create_user(writer)
        writer.commit()
        assert deposit(writer, user_id, BEGIN) is Outcome.POSTED
        row = reader.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        answers: list[int] = []

        def ask() -> None:
            found = reader.execute(
                "SELECT balance FROM saldo.balance_1(%s, NULL, %s)", (user_id, row[0])
            ).fetchone()
            assert found is not None
            answers.append(found[0])

        asking = threading.Thread(target=ask)
        asking.start()
        with psycopg.connect(server.superuser_url, autocommit=True) as admin:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while admin.execute(waiting).fetchone() != (1,):
                assert asking.is_alive()
        writer.commit()
        asking.join()
        assert answers == [100]
