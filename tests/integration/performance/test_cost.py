"""The database's cost of a posted transaction, as counts, which don't depend on the machine's load as times do.

Limits are about twice the observed values, or exact where a higher value would mean another design. A change that
exceeds them makes every post more expensive: find out why before raising one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from harness.program.settings import create_settings
from saldo.bootstrap.service import create_engine, create_ledger_limits
from saldo.ledger.model import Outcome, TransactionRequest
from saldo.store.connections.connection import DatabaseConnection
from saldo.store.embedded import EmbeddedServer
from saldo.store.poster import Poster
from saldo.store.schema.migrate import prepare_schema
from saldo.store.statements import load_statement

USERS = 1000
BATCH = 500
WARM_BATCHES = 20
"""Number of batches before measuring.

Then indexes have some levels, and pages were written since the last checkpoint.
"""

COMMITS = "SELECT count(DISTINCT xmin::text) FROM saldo.transactions WHERE uuid = ANY (%s)"
READS = """
    SELECT sum(t.seq_tup_read)::bigint AS rows_scanned,
        sum(t.idx_tup_fetch)::bigint AS rows_fetched,
        sum(t.n_tup_ins)::bigint AS rows_written,
        sum(t.n_tup_upd + t.n_tup_del)::bigint AS rows_altered
    FROM pg_stat_user_tables AS t WHERE t.schemaname = 'saldo'
"""
ACCEPT_BYTES = 65_536


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    embedded = EmbeddedServer(tmp_path_factory.mktemp("cost"))
    embedded.start()
    try:
        prepare_schema(
            embedded.owner_role_url,
            embedded.service_role_url,
            currency_decimals=2,
            max_lateness=None,
        )
        with psycopg.connect(embedded.owner_role_url, autocommit=True) as owner:
            owner.execute(
                "SELECT saldo.create_user_1('user ' || n) FROM generate_series(1, %s) AS n",
                (USERS,),
            )
            # Autovacuum's own reads and writes would be counted, too.
            owner.execute("ALTER TABLE saldo.transactions SET (autovacuum_enabled = off)")
            owner.execute("ALTER TABLE saldo.users SET (autovacuum_enabled = off)")
        yield embedded
    finally:
        embedded.stop()


def batch_of(size: int, amount: int = 10) -> list[TransactionRequest]:
    return [
        TransactionRequest(uuid4(), number * 7 % USERS + 1, amount, None) for number in range(size)
    ]


@pytest.fixture
async def connection(server: EmbeddedServer) -> AsyncIterator[asyncpg.Connection]:
    """Yield a posting connection to a ledger that already has entries."""
    connection = await asyncpg.connect(server.service_role_url, connection_class=DatabaseConnection)
    poster = Poster(connection, create_ledger_limits(create_settings(server.service_role_url)))
    for _ in range(WARM_BATCHES):
        decisions = await poster.post(batch_of(BATCH))
        assert {decision and decision.outcome for decision in decisions} == {Outcome.POSTED}
    yield connection
    await connection.close()


async def test_a_batch_is_one_statement_whatever_its_size(
    server: EmbeddedServer, connection: asyncpg.Connection
) -> None:
    poster = Poster(connection, create_ledger_limits(create_settings(server.service_role_url)))
    logged: list[Any] = []
    with connection.query_logger(logged.append):
        for size in (1, 10, BATCH):
            await poster.post(batch_of(size))
        await asyncio.sleep(0)  # the last one is logged after it is answered
    assert [record.query for record in logged] == [
        load_statement("transactions/call_post_function")
    ] * 3


async def test_no_statement_has_the_driver_read_the_catalog(server: EmbeddedServer) -> None:
    """Prepare every statement and check that the driver sends no query of its own.

    Such a query would run in each session; on Citus, with its large catalog, it takes most of a second.
    """
    connection = await asyncpg.connect(server.service_role_url, connection_class=DatabaseConnection)
    logged: list[Any] = []
    prepared = []
    try:
        with connection.query_logger(logged.append):
            folder = Path(str(files("saldo.store") / "sql"))
            for file in sorted(folder.rglob("*.sql")):
                name = file.relative_to(folder).with_suffix("").as_posix()
                if name.startswith("citus/") or name.endswith(".citus"):
                    continue
                # These statements belong to the owner; psycopg sends them, in its own syntax or several in one.
                with suppress(asyncpg.PostgresSyntaxError, asyncpg.InsufficientPrivilegeError):
                    await connection.prepare(load_statement(name))
                    prepared.append(name)
            await asyncio.sleep(0)
    finally:
        await connection.close()
    assert [record.query for record in logged] == []
    assert {
        "transactions/call_post_function",
        "keys/valid",
        "log/page",
        "webhook_deliveries/enqueue",
    } <= {*prepared}


async def test_a_batch_is_one_round_trip_and_one_commit(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """Run the whole engine through a socket that counts the server's ReadyForQuery messages."""
    async with count_round_trips(server, tmp_path) as (url, trips), asyncio.timeout(60):
        settings = create_settings(url)
        engine = create_engine(settings, url)
        engine.start()
        try:
            for request in batch_of(
                4 * settings.count_lanes(by_shard=False)
            ):  # each lane connects and prepares its statements
                await engine.post(request)
            before = trips.count
            for turn, request in enumerate(batch_of(10), start=1):
                await engine.post(request)
                assert trips.count == before + turn
            requests = batch_of(BATCH)
            await asyncio.gather(*(engine.post(request) for request in requests))
            batches = trips.count - before - 10
            # The first batch has the first request, the next ones all that arrived meanwhile.
            assert commits(server, requests) == batches <= 4
        finally:
            await engine.stop(5)


async def test_rows_read_for_a_posted_transaction(
    server: EmbeddedServer, connection: asyncpg.Connection
) -> None:
    """Check the rows that are read: the user's last entry, and the head of each shard once per batch."""
    poster = Poster(connection, create_ledger_limits(create_settings(server.service_role_url)))
    before = await reads(connection)
    for _ in range(10):
        await poster.post(batch_of(BATCH))
    after = await reads(connection)
    scanned, fetched, written, altered = (b - a for a, b in zip(before, after, strict=True))
    assert (scanned, written, altered) == (0, 10 * BATCH, 0)
    # Per user, per shard, and the one row of rules; never more than the transactions.
    assert fetched <= 10 * (BATCH + 64 + 1)


@pytest.mark.parametrize(
    ("size", "blocks_max", "wal_bytes_max"), [(1, 40, 800), (BATCH, 25, 800), (2000, 25, 800)]
)
async def test_pages_and_wal_of_a_posted_transaction(
    connection: asyncpg.Connection, server: EmbeddedServer, size: int, blocks_max: int,
    wal_bytes_max: int,
) -> None:  # fmt: skip
    # The minimum of three runs is used, because a page split in an index makes up most of a run's WAL.
    several = [await explain(server, connection, size) for _ in range(3)]
    used = min(several, key=lambda each: each["WAL Bytes"] - 8192 * each["WAL FPI"])
    assert used["Temp Written Blocks"] == used["Temp Read Blocks"] == 0
    assert used["Shared Hit Blocks"] + used["Shared Read Blocks"] <= blocks_max * size
    # The row, its entry in each of the three indexes, and occasionally a page split.
    assert used["WAL Records"] <= 4.5 * size + 10
    # Full-page images are excluded, because they depend on the last checkpoint.
    assert used["WAL Bytes"] - 8192 * used["WAL FPI"] <= wal_bytes_max * size


async def explain(
    server: EmbeddedServer, connection: asyncpg.Connection, size: int
) -> dict[str, int]:
    """Post a batch under EXPLAIN ANALYZE and return the database's counts."""
    limits = create_ledger_limits(create_settings(server.service_role_url))
    batch = batch_of(size)
    text = await connection.fetchval(
        "EXPLAIN (ANALYZE, BUFFERS, WAL, FORMAT JSON) "
        + load_statement("transactions/call_post_function"),
        [request.uuid for request in batch],
        [request.user_id for request in batch],
        [request.amount for request in batch],
        [request.timestamp for request in batch],
        limits.balance_max,
        limits.future_tolerance,
        limits.late_check_entries_max,
        limits.late_batch_entries_max,
        False,
    )
    plan: dict[str, int] = json.loads(text)[0]["Plan"]
    return plan


async def reads(connection: asyncpg.Connection) -> list[int]:
    await connection.execute("SELECT pg_stat_force_next_flush()")
    return list(await connection.fetchrow(READS))


def commits(server: EmbeddedServer, requests: list[TransactionRequest]) -> int:
    """Return the number of database transactions that recorded the requests."""
    with psycopg.connect(server.service_role_url) as connection:
        uuids = [request.uuid for request in requests]
        row = connection.execute(COMMITS, (uuids,)).fetchone()
    assert row is not None
    return int(row[0])


@dataclass
class Trips:
    """The number of ReadyForQuery messages that the server has sent."""

    count: int = 0


@asynccontextmanager
async def count_round_trips(
    server: EmbeddedServer, directory: Path
) -> AsyncIterator[tuple[str, Trips]]:
    """Yield another socket of the server, and a counter of the round trips over it."""
    trips = Trips()
    behind = psycopg.conninfo.conninfo_to_dict(server.service_role_url)["host"]
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        there, back = await asyncio.open_unix_connection(f"{behind}/.s.PGSQL.5432")
        forward = asyncio.create_task(_forward(reader, back))
        try:
            await _count(there, writer, trips)
        finally:
            forward.cancel()
            for end in (back, writer):
                end.close()

    sockets = await asyncio.start_unix_server(accept, directory / ".s.PGSQL.5432")
    async with sockets:
        yield f"postgresql://saldo@/saldo?host={directory}&port=5432", trips
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(ACCEPT_BYTES):
        writer.write(data)
        await writer.drain()


async def _count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, trips: Trips) -> None:
    """Forward the messages one by one; each has a type of one byte and a length that includes itself."""
    try:
        while True:
            head = await reader.readexactly(5)
            trips.count += head[:1] == b"Z"
            writer.write(head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4))
            await writer.drain()
    except asyncio.IncompleteReadError:
        return
