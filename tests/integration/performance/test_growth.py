"""A ledger that grows from nothing and is never analysed: the reads of one post don't grow with it.

The tests count reads and not time, which is unreliable on a busy machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from saldo.ledger.model import LedgerLimits, Outcome, TransactionRequest
from saldo.store.connections.connection import DatabaseConnection
from saldo.store.embedded import EmbeddedServer
from saldo.store.poster import Poster
from saldo.store.schema.migrate import prepare_schema
from saldo.store.statements import load_statement
from saldo.store.totals import Totals

ENTRIES = 500_000
BATCH = 2000
USERS = 2000
SINGLES = 40
"""Number of single posts whose reads are averaged, because a few of them split a page or reach a new one."""

LEVELS_BLOCKS = 8
"""Allowance for each of the indexes to be a level higher, which is read to find an entry and to append one."""

READ = """
    SELECT sum(t.seq_tup_read)::bigint AS rows_scanned,
        sum(t.idx_tup_fetch)::bigint + sum(i.rows_of_indexes)::bigint AS rows_by_index,
        sum(io.heap_blks_hit + io.heap_blks_read + io.idx_blks_hit + io.idx_blks_read)::bigint AS blocks
    FROM pg_stat_user_tables AS t
    JOIN pg_statio_user_tables AS io USING (relid)
    JOIN (
        SELECT relid, sum(idx_tup_read) AS rows_of_indexes FROM pg_stat_user_indexes GROUP BY relid
    ) AS i USING (relid)
    WHERE t.schemaname = 'saldo'
"""
ANALYSED = """
    SELECT count(*) FROM pg_stat_user_tables
    WHERE schemaname = 'saldo' AND (analyze_count > 0 OR autoanalyze_count > 0 OR autovacuum_count > 0)
"""


class Reads(NamedTuple):
    """Counts of the database's reads."""

    rows_scanned: float
    rows_by_index: float
    blocks: float


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    embedded = EmbeddedServer(tmp_path / "data")
    embedded.start()
    try:
        prepare_schema(
            embedded.owner_role_url,
            embedded.service_role_url,
            currency_decimals=2,
            max_lateness=None,
        )
        with psycopg.connect(embedded.owner_role_url, autocommit=True) as owner:
            owner.execute("ALTER TABLE saldo.transactions SET (autovacuum_enabled = off)")
            owner.execute("ALTER TABLE saldo.users SET (autovacuum_enabled = off)")
        yield embedded
    finally:
        embedded.stop()


class GrowingLedger:
    """A ledger, its users, and one connection that posts and counts."""

    def __init__(self, connection: asyncpg.Connection, users: list[int]) -> None:
        self._connection = connection
        self._poster = Poster(connection, LedgerLimits())
        self._users = users
        self._turn = count()

    @classmethod
    async def open(cls, url: str) -> GrowingLedger:
        connection = await asyncpg.connect(url, connection_class=DatabaseConnection)
        async with connection.transaction():
            users = [
                (await connection.fetchrow(load_statement("users/create"), f"user {number}"))["id"]
                for number in range(USERS)
            ]
        return cls(connection, users)

    async def close(self) -> None:
        await self._poster.close()

    def request(self, amount: int, timestamp: datetime | None = None) -> TransactionRequest:
        user_id = self._users[next(self._turn) * 7 % USERS]
        return TransactionRequest(uuid4(), user_id, amount, timestamp)

    async def grow(self, entries: int) -> None:
        for _ in range(entries // BATCH):
            await self._poster.post([self.request(10) for _ in range(BATCH)])

    async def reads_of_one(self, requests: Sequence[TransactionRequest]) -> Reads:
        """Return the average reads of posting a batch of one."""
        before = await self._reads()
        for request in requests:
            (decision,) = await self._poster.post([request])
            assert decision is not None
            assert decision.outcome is Outcome.POSTED
        after = await self._reads()
        return Reads(*((b - a) / len(requests) for a, b in zip(before, after, strict=True)))

    async def reads_of_counted(self, entries: int) -> Reads:
        """Return the average reads of counting an entry into the totals, over at least `entries` entries."""
        totals = Totals(_Pool(self._connection))
        before = await self._reads()
        counted = 0
        while counted < entries:
            counted += (found := (await totals.advance_totals(256)).entries)
            assert found
        after = await self._reads()
        return Reads(*((b - a) / counted for a, b in zip(before, after, strict=True)))

    async def _reads(self) -> Reads:
        await self._connection.execute("SELECT pg_stat_force_next_flush()")
        return Reads(*await self._connection.fetchrow(READ))

    async def each_kind(self) -> dict[str, Reads]:
        late = datetime.now(UTC) - timedelta(days=1)
        deposits = [self.request(10) for _ in range(SINGLES)]
        return {
            "deposit": await self.reads_of_one(deposits),
            "deposit again": await self.reads_of_one(deposits),
            "withdrawal": await self.reads_of_one([self.request(-1) for _ in range(SINGLES)]),
            "late deposit": await self.reads_of_one(
                [self.request(10, late) for _ in range(SINGLES)]
            ),
        }


class _Pool:
    """A pool of one connection, which is set up like those of real pools."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def acquire(self, timeout: float | None = None) -> AsyncIterator[asyncpg.Connection]:
        await self._connection.execute("SET enable_seqscan = off")
        yield self._connection


async def test_reads_of_one_post_do_not_grow_with_the_ledger(server: EmbeddedServer) -> None:
    ledger = await GrowingLedger.open(server.service_role_url)
    await ledger.grow(BATCH)
    early = await ledger.each_kind()
    await ledger.grow(ENTRIES - BATCH)
    late = await ledger.each_kind()
    for kind, reads in late.items():
        assert reads.rows_scanned == 0, kind
        assert reads.rows_by_index <= early[kind].rows_by_index, kind
        assert reads.blocks <= early[kind].blocks + LEVELS_BLOCKS, kind
    # The entry itself, the user's entry before it, and the rows of the totals are read.
    counted = await ledger.reads_of_counted(ENTRIES // 2)
    assert counted.rows_scanned == 0
    assert counted.rows_by_index < 6
    await ledger.close()
    with psycopg.connect(server.service_role_url) as connection:
        assert connection.execute(ANALYSED).fetchone() == (0,)
