"""`created_at` of a user: the same value in answers, in lists, and in the event, however the event is read."""

from __future__ import annotations

import asyncio
import json

import psycopg

from harness.postgresql.databases import Database
from saldo.events.event import EventEncoder
from saldo.ledger.model import SHARDS, compute_shard
from saldo.store.connections.connection import open_pool
from saldo.store.log import Log, LogEntry
from tests.acceptance.access.test_access import serve

SECONDS_MAX = 30


async def _events(database: Database, user_id: int) -> list[str]:
    """Return the time in the user's event, read as the live stream, the relay and the webhooks read it."""
    pool = await open_pool(
        database.service_role_url, connections=1, statement_timeout_seconds=SECONDS_MAX
    )
    try:
        log, shard = Log(pool), compute_shard(user_id)
        beginnings = dict.fromkeys(range(SHARDS), 0)
        page = await log.read_page(beginnings, 100)
        after = await log.list_entries_after({shard: 0}, 100)
        places = [(entry.shard, entry.seq, entry.uuid) for entry in after]
        at = [entry for entry in await log.list_entries_at(places) if isinstance(entry, LogEntry)]
        found = [
            next(entry for entry in entries if entry.user_id == user_id)
            for entries in (page.entries, after, at)
        ]
    finally:
        pool.terminate()
    return [json.loads(EventEncoder(2).encode(entry).body)["data"]["created_at"] for entry in found]


async def test_created_at_is_the_same_everywhere(own_ledger: Database) -> None:
    async with serve(own_ledger) as api:
        # Another transaction holds the shard meanwhile, so the entry is recorded later than the user's row.
        with psycopg.connect(own_ledger.owner_role_url) as holding:
            holding.execute(
                "SELECT pg_advisory_xact_lock('saldo.transactions'::regclass::oid::bigint << 6 | 1)"
            )
            creating = asyncio.create_task(api.admin.post("/v1/user", json={"name": "a"}))
            async with asyncio.timeout(SECONDS_MAX):
                while holding.execute(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                ).fetchone() == (0,):
                    await asyncio.sleep(0.01)
        created = (await creating).json()
        user_id = created["id"]
        assert compute_shard(user_id) == 1
        listed = (await api.admin.get("/v1/user")).json()["items"]
        shown = (await api.admin.get(f"/v1/user/{user_id}")).json()
        moments = [
            created["created_at"],
            shown["created_at"],
            *(each["created_at"] for each in listed),
        ]
        moments += await _events(own_ledger, user_id)
        assert len(moments) == 6
        assert len(set(moments)) == 1, moments
