"""The sealer on a real log: its seals, a second sealer, recovery after a fault, and protection of the seals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from harness.postgresql.databases import Database
from harness.program.settings import create_settings
from saldo.background import seal_worker
from saldo.background.seal_worker import Sealer
from saldo.background.throttle import PostingActivity
from saldo.bootstrap.service import create_ledger_limits
from saldo.ledger.model import Entry, Kind, Outcome, TransactionRequest
from saldo.ledger.seals import (
    FIRST_PREVIOUS,
    SEAL_ENTRIES_MAX,
    compute_merkle_root,
    encode_entry,
    hash_leaf,
    hash_seal,
)
from saldo.store.connections.connection import DatabaseConnection, open_pool
from saldo.store.embedded import EmbeddedServer
from saldo.store.poster import Poster
from saldo.store.schema.migrate import prepare_schema
from saldo.store.seals import ENTRIES_MAX, NewSeal, SealStore
from saldo.store.statements import load_statement

USERS = 70
"""Number of users, more than there are shards."""

ENTRIES = """
    SELECT shard, seq, user_id, number, uuid, kind, outcome, amount, balance,
        nullif("timestamp", '-infinity'), nullif(horizon, '-infinity'), recorded_at
    FROM saldo.transactions ORDER BY shard, seq
"""
SEALS = "SELECT shard, first_seq, last_seq, root, hash FROM saldo.seals ORDER BY shard, first_seq"


class WatchedSealStore(SealStore):
    """Seals that notify waiters after an append."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self.pool = pool
        self.appended = asyncio.Condition()
        self.looks = 0

    async def find_unsealed_shards(self) -> Any:
        self.looks += 1
        return await super().find_unsealed_shards()

    async def append(self, seals: Sequence[NewSeal]) -> int:
        count = await super().append(seals)
        async with self.appended:
            self.appended.notify_all()
        return count

    async def wait_until_sealed(self) -> None:
        """Wait until no entries are left to seal."""
        async with self.appended:
            while await super().find_unsealed_shards():
                await self.appended.wait()


@pytest.fixture
async def seals(own_ledger: Database) -> AsyncIterator[WatchedSealStore]:
    pool = await open_pool(own_ledger.service_role_url, connections=4, statement_timeout_seconds=30)
    yield WatchedSealStore(pool)
    pool.terminate()


@pytest.fixture
async def ledger(own_ledger: Database) -> Database:
    """Return a ledger with entries of every kind: opening, posted, refused, late, and a user with only refused ones."""
    create_users(own_ledger, USERS)
    moment = datetime.now(UTC)
    await post(
        own_ledger,
        [
            *(TransactionRequest(uuid4(), user, 1000 + user, None) for user in range(2, USERS)),
            TransactionRequest(uuid4(), 1, -1, None),
            TransactionRequest(uuid4(), 2, -10_000, None),
            TransactionRequest(uuid4(), 2, 5, moment - timedelta(days=30)),
            TransactionRequest(uuid4(), 2, -5, moment - timedelta(days=20)),
        ],
    )
    return own_ledger


def create_users(database: Database, count: int) -> None:
    with psycopg.connect(database.owner_role_url, autocommit=True) as owner:
        owner.execute(
            "SELECT saldo.create_user_1('user ' || n) FROM generate_series(1, %s) AS n", (count,)
        )


async def post(database: Database, requests: list[TransactionRequest]) -> None:
    connection = await asyncpg.connect(
        database.service_role_url, connection_class=DatabaseConnection
    )
    try:
        await Poster(
            connection, create_ledger_limits(create_settings(database.service_role_url))
        ).post(requests)
    finally:
        await connection.close()


def deposits(user_id: int, count: int) -> list[TransactionRequest]:
    return [TransactionRequest(uuid4(), user_id, 1, None) for _ in range(count)]


def entries_of(database: Database) -> list[Entry]:
    """Return all entries, read column by column."""
    with psycopg.connect(database.owner_role_url) as connection:
        rows = connection.execute(ENTRIES).fetchall()
    return [_entry(*row) for row in rows]


def _entry(*columns: Any) -> Entry:
    shard, seq, user_id, number, uuid, kind, outcome, *others = columns
    return Entry(shard, seq, user_id, number, uuid, Kind(kind), Outcome(outcome), *others)


def assert_sealed(database: Database) -> int:
    """Check that every entry is sealed once, that each seal matches its entries, and that the chains are unbroken.

    Returns:
        The number of seals.
    """
    with psycopg.connect(database.owner_role_url) as connection:
        found = connection.execute(SEALS).fetchall()
    entries = {(each.shard, each.seq): each for each in entries_of(database)}
    previous: dict[int, tuple[int, bytes]] = {}
    for shard, first_seq, last_seq, root, hash_ in found:
        before_seq, before_hash = previous.get(shard, (0, FIRST_PREVIOUS))
        assert first_seq == before_seq + 1
        some = [entries.pop((shard, seq)) for seq in range(first_seq, last_seq + 1)]
        assert root == compute_merkle_root([hash_leaf(encode_entry(each)) for each in some])
        assert hash_ == hash_seal(before_hash, shard, first_seq, last_seq, root)
        previous[shard] = last_seq, hash_
    assert not entries
    return len(found)


async def seal_all(seals: SealStore) -> None:
    sealer = Sealer(seals, PostingActivity(is_recorded=True))
    while await seals.find_unsealed_shards():
        assert await sealer.run_pass()


@contextmanager
def behind_the_back(database: Database) -> Iterator[psycopg.Connection]:
    """Yield a superuser's connection with all triggers disabled."""
    url = database.owner_role_url.replace("saldo_owner@", "postgres@")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


async def test_copied_bytes_are_those_of_the_entries(
    ledger: Database, seals: WatchedSealStore
) -> None:
    copied = await seals.read_unsealed()
    entries = entries_of(ledger)
    assert [entry for shard in sorted(copied) for entry in copied[shard]] == [
        encode_entry(each) for each in entries
    ]
    assert {each.kind for each in entries} == set(Kind)
    assert {each.outcome for each in entries} == {Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS}
    assert any(
        each.timestamp and each.horizon and each.timestamp < each.horizon for each in entries
    )
    assert any(each.timestamp and not each.horizon for each in entries)


async def test_sealer_seals_everything_and_then_idles(
    ledger: Database, seals: WatchedSealStore
) -> None:
    assert (await seals.read_totals()).entries == 0
    assert (await seals.read_totals()).seconds_behind > 0
    await seal_all(seals)
    count = assert_sealed(ledger)
    totals = await seals.read_totals()
    assert (totals.entries, totals.seconds_behind) == (len(entries_of(ledger)), 0)
    sealer = Sealer(seals, PostingActivity(is_recorded=True))
    assert await sealer.run_pass() == 0
    assert assert_sealed(ledger) == count


async def test_backlog_is_sealed_in_bounded_parts_oldest_first(
    ledger: Database, seals: WatchedSealStore
) -> None:
    # Some shards have more entries than fit into a seal, and together more than one pass takes; one other shard has a
    # few that are older.
    shards = ENTRIES_MAX // SEAL_ENTRIES_MAX + 2
    for user_id in range(1, shards + 1):
        await post(ledger, deposits(user_id, SEAL_ENTRIES_MAX + 1))
    first = await seals.read_unsealed()
    assert ENTRIES_MAX <= sum(map(len, first.values())) < ENTRIES_MAX + SEAL_ENTRIES_MAX
    assert max(map(len, first.values())) == SEAL_ENTRIES_MAX
    await seal_all(seals)
    await post(ledger, deposits(63, 3))
    for user_id in range(1, shards + 1):
        await post(ledger, deposits(user_id, SEAL_ENTRIES_MAX + 1))
    waiting = await seals.read_unsealed()
    assert 63 in waiting
    assert len(waiting) < shards
    await seal_all(seals)
    assert_sealed(ledger)


async def test_sealer_does_not_pause_while_one_shard_has_a_backlog(
    ledger: Database, seals: WatchedSealStore
) -> None:
    """Check the passes: each shard gets one seal per pass, and the next pass follows soon while seals are full."""
    await post(ledger, deposits(1, 2 * SEAL_ENTRIES_MAX + 100))
    sealer = Sealer(seals, PostingActivity(is_recorded=True))
    looked = [
        (await sealer.run_pass() >= SEAL_ENTRIES_MAX, sealer.is_limit_reached) for _ in range(4)
    ]
    assert looked == [(True, True), (True, True), (False, False), (False, False)]
    assert_sealed(ledger)


async def test_two_sealers_at_the_same_time_make_one_chain(
    ledger: Database, seals: WatchedSealStore
) -> None:
    sealers = [Sealer(seals, PostingActivity(is_recorded=True)) for _ in range(4)]
    for _ in range(10):
        await post(ledger, [each for user in range(1, USERS) for each in deposits(user, 2)])
        await asyncio.gather(*(sealer.run_pass() for sealer in sealers))
    await seal_all(seals)
    assert_sealed(ledger)


async def test_one_of_two_sealers_with_the_same_entries_appends(
    ledger: Database, seals: WatchedSealStore
) -> None:
    behind, entries = await seals.find_unsealed_shards(), await seals.read_unsealed()
    new = [seal_worker.build_seal(shard, last, entries[shard]) for shard, last in behind.items()]
    found = [each for each in new if each is not None]
    counts = await asyncio.gather(*(seals.append(found) for _ in range(4)))
    assert sorted(counts) == [0, 0, 0, len(found)]
    # A seal over fewer or more entries from the same position doesn't follow the last seal.
    for shard, last in behind.items():
        again = seal_worker.build_seal(shard, last, entries[shard][:1])
        assert again is not None
        assert await seals.append([again]) == 0
    assert_sealed(ledger)


async def test_only_what_follows_the_last_seal_is_appended(
    ledger: Database, seals: WatchedSealStore
) -> None:
    await seal_all(seals)
    count = assert_sealed(ledger)
    last = next(each for each in await seals.list_last_seals() if each.shard == 2)
    follows = NewSeal(2, last.last_seq + 1, last.last_seq + 1, last.hash, bytes(32), bytes(32))
    for wrong in (
        follows._replace(previous=bytes(32)),
        follows._replace(first_seq=last.last_seq + 2, last_seq=last.last_seq + 2),
        follows._replace(first_seq=last.last_seq),
        follows._replace(first_seq=last.first_seq),
    ):
        assert await seals.append([wrong]) == 0
    assert assert_sealed(ledger) == count
    assert await seals.append([follows]) == 1


async def test_a_sealer_that_ends_between_reading_and_writing_leaves_nothing_behind(
    ledger: Database, seals: WatchedSealStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def never(_: Sequence[NewSeal]) -> int:
        reached.set()
        await asyncio.Event().wait()
        return 0

    with monkeypatch.context() as patched:
        patched.setattr(seals, "append", never)
        work = asyncio.create_task(Sealer(seals, PostingActivity(is_recorded=True)).run())
        await reached.wait()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    assert (await seals.read_totals()).entries == 0
    await seal_all(seals)
    assert_sealed(ledger)


async def test_sealer_keeps_up_with_posting_clients(
    ledger: Database, seals: WatchedSealStore
) -> None:
    work = asyncio.create_task(Sealer(seals, PostingActivity(is_recorded=False)).run())
    try:
        for _ in range(3):
            await post(ledger, [each for user in range(1, USERS) for each in deposits(user, 3)])
            await seals.wait_until_sealed()
    finally:
        work.cancel()
    assert_sealed(ledger)


async def test_sealer_continues_after_the_database_was_unavailable(
    own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal_worker, "SEAL_SECONDS", 0.02)
    monkeypatch.setattr(seal_worker, "RETRY_SECONDS", 0.02)
    database = Database(own_server.owner_role_url, own_server.service_role_url)
    await asyncio.to_thread(
        prepare_schema,
        database.owner_role_url,
        database.service_role_url,
        currency_decimals=2,
        max_lateness=None,
    )
    create_users(database, 3)
    pool = await open_pool(database.service_role_url, connections=2, statement_timeout_seconds=5)
    seals = WatchedSealStore(pool)
    work = asyncio.create_task(Sealer(seals, PostingActivity(is_recorded=True)).run())
    try:
        await seals.wait_until_sealed()
        await asyncio.to_thread(own_server.stop)
        looks = seals.looks
        while seals.looks < looks + 3:
            await asyncio.sleep(0)
        await asyncio.to_thread(own_server.start)
        await post(database, deposits(1, 5))
        await seals.wait_until_sealed()
        assert not work.done()
    finally:
        work.cancel()
        pool.terminate()
    assert_sealed(database)


async def test_sealer_stops_at_a_missing_entry_and_logs_it_once(
    ledger: Database,
    seals: WatchedSealStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await post(ledger, deposits(3, 9))
    with behind_the_back(ledger) as superuser:
        superuser.execute("DELETE FROM saldo.transactions WHERE shard = 3 AND seq = 5")
    sealer = Sealer(seals, PostingActivity(is_recorded=True))
    with caplog.at_level(logging.ERROR, "saldo.relay"):
        for _ in range(6):
            await sealer.run_pass()
    assert [each.message for each in caplog.records] == [
        "can't seal shard 3, because its entry 5 is missing"
    ]
    newest = {each.shard: each.last_seq for each in await seals.list_last_seals()}
    assert newest[3] == 4
    assert [*await seals.find_unsealed_shards()] == [3]
    assert (await seals.read_totals()).seconds_behind > 0


async def test_the_chain_is_read_page_by_page(ledger: Database, seals: WatchedSealStore) -> None:
    for _ in range(5):
        await post(ledger, deposits(2, 2))
        await seal_all(seals)
    pages, after = [], 0
    while page := await seals.list_page(2, after, 2):
        pages += page
        after = page[-1].last_seq
    assert len(pages) == 5
    assert pages[0].previous == FIRST_PREVIOUS
    assert all(second.previous == first.hash for first, second in pairwise(pages))
    assert pages[-1] in await seals.list_last_seals()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE saldo.seals SET root = root",
        "UPDATE saldo.seals SET sealed_at = now() WHERE false",
        "DELETE FROM saldo.seals",
        "TRUNCATE saldo.seals",
    ],
)
async def test_seals_cannot_be_changed(
    change: str, ledger: Database, seals: WatchedSealStore
) -> None:
    await seal_all(seals)
    with (
        psycopg.connect(ledger.service_role_url, autocommit=True) as service,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="seals"),
    ):
        service.execute(change.encode())
    with (
        psycopg.connect(ledger.owner_role_url, autocommit=True) as owner,
        pytest.raises(psycopg.errors.RestrictViolation, match="append-only"),
    ):
        owner.execute(change.encode())
    assert_sealed(ledger)


async def test_seal_commits_durably_whatever_the_roles_default(
    ledger: Database, seals: WatchedSealStore
) -> None:
    behind, entries = await seals.find_unsealed_shards(), await seals.read_unsealed()
    new = seal_worker.build_seal(2, behind[2], entries[2])
    assert new is not None
    connection = await asyncpg.connect(ledger.service_role_url)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL synchronous_commit = off")
            await connection.fetch(load_statement("seals/append"), *([each] for each in new), None)
            assert await connection.fetchval("SHOW synchronous_commit") == "on"
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "name",
    ["seals/unsealed_shards", "seals/unsealed_entries", "seals/totals", "seals/last_of_each_shard"],
)
async def test_sealers_query_reads_only_the_ends_of_the_log(
    name: str, ledger: Database, seals: WatchedSealStore
) -> None:
    """Check that the plan never scans a table, with the statistics of a ledger that was analysed while it was small."""
    await seal_all(seals)
    with psycopg.connect(ledger.owner_role_url, autocommit=True) as owner:
        owner.execute("ANALYZE saldo.transactions, saldo.seals")
    async with seals.pool.acquire() as connection:
        rows = await connection.fetch(f"EXPLAIN {load_statement(name)}")
    plan = [row[0] for row in rows]
    scans = [line for line in plan if " on transactions" in line or " on seals" in line]
    assert scans
    assert all("Index" in line for line in scans), plan
    assert not any("Hash" in line or "Merge" in line for line in plan), plan
