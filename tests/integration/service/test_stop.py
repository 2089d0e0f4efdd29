"""A stop of the engine with the real database: what it acknowledged is recorded, and what it rejected is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from harness.program.settings import create_settings
from saldo.bootstrap.service import create_engine
from saldo.engine.engine import Engine
from saldo.engine.errors import EngineError, OutcomeUnknownError, QueueFullError
from saldo.ledger.model import Decision, Outcome, TransactionRequest
from saldo.store.embedded import EmbeddedServer
from saldo.store.statements import load_statement

REQUESTS = 1000
USERS = 50
BATCH = 100
LANES = 2

WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
LANES_LEFT = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'saldo lane %'"
RECORDED = "SELECT uuid FROM saldo.transactions WHERE uuid = ANY ($1)"


def _requests(url: str) -> list[TransactionRequest]:
    with psycopg.connect(url, autocommit=True) as connection:
        users = []
        for _ in range(USERS):
            row = connection.execute(
                load_statement("users/create").replace("$1", "%s"), (str(uuid4()),)
            )
            _, user_id, _ = row.fetchone() or (None, 0, None)
            users.append(int(user_id))
    return [TransactionRequest(uuid4(), users[turn % USERS], 1, None) for turn in range(REQUESTS)]


@asynccontextmanager
async def _all_shards_locked(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Lock all shards, and yield the connection, which can also be used to watch."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.fetch(load_statement("ledger/lock_all_shards"))
            yield connection
    finally:
        await connection.close()


async def _in_flight(
    engine: Engine, requests: Sequence[TransactionRequest], watching: asyncpg.Connection
) -> list[asyncio.Task[Decision]]:
    """Give the requests to the engine, and wait until the first batch of each lane is in the database."""
    posts = [asyncio.create_task(engine.post(request)) for request in requests]
    while (
        engine.admission.admitted_requests < len(requests)
        or await watching.fetchval(WAITING) < LANES
    ):
        await asyncio.sleep(0)
    return posts


async def test_a_stop_with_1000_requests_in_flight_answers_them_all(
    embedded_server: EmbeddedServer, database_url: str
) -> None:
    requests = _requests(database_url)
    settings = create_settings(database_url, lanes=LANES, batch_requests_max=BATCH)
    engine = create_engine(settings, database_url)
    engine.start()
    async with _all_shards_locked(
        embedded_server.superuser_url.replace("@/postgres", "@/saldo")
    ) as lock:
        posts = await _in_flight(engine, requests, lock)
        stop = asyncio.create_task(engine.stop(60))
        while not engine.admission.is_full:
            await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await engine.post(requests[0])
    decisions = await asyncio.gather(*posts)
    await stop
    assert {decision.outcome for decision in decisions} == {Outcome.POSTED}
    assert not any(decision.replayed for decision in decisions)
    connection = await asyncpg.connect(database_url)
    recorded = await connection.fetch(RECORDED, [request.uuid for request in requests])
    await connection.close()
    assert len(recorded) == REQUESTS


async def test_a_stop_that_runs_out_of_time_refuses_only_what_is_not_recorded(
    embedded_server: EmbeddedServer, database_url: str
) -> None:
    requests = _requests(database_url)
    settings = create_settings(database_url, lanes=LANES, batch_requests_max=BATCH)
    engine = create_engine(settings, database_url)
    engine.start()
    async with _all_shards_locked(
        embedded_server.superuser_url.replace("@/postgres", "@/saldo")
    ) as lock:
        posts = await _in_flight(engine, requests, lock)
        await engine.stop(0.01)
        results = await asyncio.gather(*posts, return_exceptions=True)
    answers = dict(zip((request.uuid for request in requests), results, strict=True))
    unknown = [uuid for uuid, result in answers.items() if isinstance(result, OutcomeUnknownError)]
    refused = [uuid for uuid, result in answers.items() if isinstance(result, QueueFullError)]
    assert all(isinstance(result, EngineError) for result in results)
    assert len(unknown) + len(refused) == REQUESTS
    assert len(unknown) <= LANES * BATCH
    connection = await asyncpg.connect(
        embedded_server.superuser_url.replace("@/postgres", "@/saldo")
    )
    while await connection.fetchval(LANES_LEFT):  # by then the batches in progress have ended
        await asyncio.sleep(0)
    assert await connection.fetch(RECORDED, refused) == []
    await connection.close()
