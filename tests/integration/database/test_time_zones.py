"""Time zones of the database, the role and the session: in the ledger a day always has 24 hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from harness.postgresql.databases import Database
from harness.postgresql.sample_ledger import superuser_url
from saldo.ledger.model import LedgerLimits, Outcome, TransactionRequest
from saldo.store.connections.connection import connect, open_pool
from saldo.store.connections.replica import Replica
from saldo.store.poster import Poster
from saldo.store.reader import Reader
from saldo.store.schema import migrate as store_migrate
from saldo.store.schema.migrate import prepare_schema

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]

SETTINGS = """
    SELECT p.proname FROM pg_proc AS p
    WHERE p.pronamespace = 'saldo'::regnamespace
        AND NOT coalesce(p.proconfig, '{}') @> ARRAY['TimeZone=UTC']
"""


@pytest.fixture(params=ZONES)
def zone(own_ledger: Database, request: pytest.FixtureRequest) -> str:
    """Return the time zone of every new session, set as in a server's own configuration."""
    with psycopg.connect(superuser_url(own_ledger), autocommit=True) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        connection.execute(f"ALTER DATABASE {row[0]} SET timezone = '{request.param}'".encode())
    return str(request.param)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# Each is late by less than the maximum, across a clock change: forward in Berlin, New York and Lord Howe, and the day
# that Apia skipped.
CHANGES = {
    "Europe/Berlin": (at("2023-03-25T10:00+01:00"), at("2023-03-25T17:00+01:00"), 36),
    "America/New_York": (at("2023-03-11T10:00-05:00"), at("2023-03-11T17:00-05:00"), 36),
    "Australia/Lord_Howe": (at("2023-09-30T10:00+10:30"), at("2023-09-30T17:00+10:30"), 36),
    "Pacific/Apia": (at("2011-12-29T02:00-10:00"), at("2011-12-29T09:00-10:00"), 36),
}


async def test_late_entry_counts_in_every_balance_from_its_timestamp_on(
    own_ledger: Database, zone: str
) -> None:
    first, late, hours = CHANGES[zone]
    bound = timedelta(hours=hours)
    prepare_schema(
        own_ledger.owner_role_url,
        own_ledger.service_role_url,
        currency_decimals=2,
        max_lateness=bound,
    )
    url = own_ledger.service_role_url
    poster = await Poster.open(
        url, LedgerLimits(max_lateness=bound), lane=0, statement_timeout_seconds=30
    )
    reader = await Reader.open(url, connections=1, timeout_seconds=30, entries_read_max=100)
    user_id = (await reader.create_user("a")).id

    async def post(amount: int, timestamp: datetime) -> Outcome:
        (decision,) = await poster.post([TransactionRequest(uuid4(), user_id, amount, timestamp)])
        assert decision is not None
        return decision.outcome

    assert await post(10_000, first) is Outcome.POSTED
    horizon = late + bound
    assert await post(100, horizon) is Outcome.POSTED
    assert await post(-1, late - timedelta(microseconds=1)) is Outcome.TIMESTAMP_TOO_LATE
    assert await post(-5_000, late) is Outcome.POSTED
    expected = {
        late - timedelta(microseconds=1): 10_000,
        late: 5_000,
        late + timedelta(minutes=30): 5_000,
        late + timedelta(hours=1): 5_000,
        horizon: 5_100,
    }
    assert {date: await reader.read_balance(user_id, date, None) for date in expected} == expected
    await poster.close()
    await reader.close()


def test_session_time_zone_does_not_change_posts_and_reads(own_ledger: Database) -> None:
    """Use a session that was not set up, as behind a pooler; the functions themselves must ignore its time zone."""
    day = timedelta(days=1)
    prepare_schema(
        own_ledger.owner_role_url,
        own_ledger.service_role_url,
        currency_decimals=2,
        max_lateness=day,
    )
    noon = at("2023-03-26T12:00+02:00")  # one calendar day earlier is 23 hours earlier
    with psycopg.connect(own_ledger.service_role_url, autocommit=True) as connection:
        connection.execute("SET timezone = 'Europe/Berlin'")
        row = connection.execute("SELECT id FROM saldo.create_user_1('b')").fetchone()
        assert row is not None
        for name, budget in (("post_2", ""), ("post_3", "20000,")):
            for moment, outcome in ((noon, 0), (noon - day, 0), (noon - 1.01 * day, 13)):
                found: Any = connection.execute(
                    f"SELECT outcomes FROM saldo.{name}(ARRAY[gen_random_uuid()], ARRAY[%s::bigint], ARRAY[700],"
                    f" ARRAY[%s::timestamptz], 1000000, '5 min', 10000, {budget} false)".encode(),
                    (row[0], moment),
                ).fetchone()
                assert found == ([outcome],), (name, moment)
        for name in ("balance_1", "balance_2"):
            found = connection.execute(
                f"SELECT balance FROM saldo.{name}(%s, %s, NULL)".encode(), (row[0], noon - day)
            ).fetchone()
            assert found == (1400,)
        # The tolerance is a day, and the entry is on the day before the clocks go back.
        for ahead, outcome in ((0.99, 0), (1.02, 12)):
            found = connection.execute(
                "SELECT outcomes FROM saldo.post_3(ARRAY[gen_random_uuid()], ARRAY[%s::bigint], ARRAY[1],"
                " ARRAY[clock_timestamp() + %s * interval '24 hours'], 1000000, '1 day', 10000, 20000, false)",
                (row[0], ahead),
            ).fetchone()
            assert found == ([outcome],)


def test_lateness_limit_set_later_covers_existing_entries(own_ledger: Database) -> None:
    with psycopg.connect(superuser_url(own_ledger), autocommit=True) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        connection.execute(f"ALTER DATABASE {row[0]} SET timezone = 'Europe/Berlin'".encode())
    noon, day = at("2023-03-26T12:00+02:00"), timedelta(days=1)
    urls = (own_ledger.owner_role_url, own_ledger.service_role_url)
    with psycopg.connect(own_ledger.service_role_url, autocommit=True) as connection:
        connection.execute("SELECT saldo.create_user_1('c')")
        for moment in (noon, noon - day):
            connection.execute(
                "SELECT saldo.post_3(ARRAY[gen_random_uuid()], ARRAY[1], ARRAY[700], ARRAY[%s::timestamptz],"
                " 1000000, '5 min', 10000, 20000, false)",
                (moment,),
            )
        prepare_schema(*urls, currency_decimals=2, max_lateness=day)
        row = connection.execute(
            "SELECT balance FROM saldo.balance_2(1, %s, NULL)", (noon - day,)
        ).fetchone()
    assert row == (700,)


def test_every_function_of_the_schema_counts_in_utc(own_ledger: Database) -> None:
    with psycopg.connect(own_ledger.owner_role_url) as connection:
        assert connection.execute(SETTINGS).fetchall() == []


@pytest.fixture
def configuration_zones(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the time zones of the transactions in which the owner configures the ledger."""
    zones: list[str] = []
    configure = store_migrate._configure_ledger

    def watch(driver: Any, *arguments: Any) -> None:
        zones.append(driver.execute("SHOW timezone").fetchone()[0])
        configure(driver, *arguments)

    monkeypatch.setattr(store_migrate, "_configure_ledger", watch)
    yield zones


async def test_no_connection_compiles_plans(own_ledger: Database) -> None:
    """Forced sequential scans have an enormous estimated cost, so that each such statement would be compiled."""
    url = own_ledger.service_role_url
    with psycopg.connect(superuser_url(own_ledger), autocommit=True) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        connection.execute(f"ALTER DATABASE {row[0]} SET jit = on".encode())
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW jit").fetchone() == ("on",)
    lane = await connect(url, application_name="lane", statement_timeout_seconds=5)
    replica = await Replica.open(url, connections=1, timeout_seconds=5)
    pool = await open_pool(url, connections=1, statement_timeout_seconds=5)
    try:
        for each in (lane, replica.pool, pool):
            assert await each.fetchval("SHOW jit") == "off"
    finally:
        await lane.close()
        await replica.close()
        await pool.close()


async def test_every_connection_is_in_utc(
    own_ledger: Database, zone: str, configuration_zones: list[str]
) -> None:
    url = own_ledger.service_role_url
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW timezone").fetchone() == (zone,)
    lane = await connect(url, application_name="lane", statement_timeout_seconds=5)
    replica = await Replica.open(url, connections=1, timeout_seconds=5)
    pool = await open_pool(url, connections=1, statement_timeout_seconds=5)
    try:
        for each in (lane, replica.pool, pool):
            assert await each.fetchval("SHOW timezone") == "UTC"
    finally:
        await lane.close()
        await replica.close()
        await pool.close()
    prepare_schema(own_ledger.owner_role_url, url, currency_decimals=2, max_lateness=None)
    assert configuration_zones == ["UTC"]
