"""Calls that end early while the synchronous standby is away: none of them makes its commit visible."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from harness.postgresql.standbys import await_absent_standby
from harness.program.settings import create_settings
from saldo.bootstrap.service import create_engine
from saldo.engine.errors import OutcomeUnknownError
from saldo.ledger.model import TransactionRequest
from saldo.store.connections.connection import open_pool
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import ConnectionLostError
from saldo.store.keys import Keys, NewKey
from saldo.store.poster import create_user
from saldo.store.schema.migrate import prepare_schema
from saldo.store.seals import NewSeal, SealStore
from saldo.store.sinks import Sinks
from saldo.store.webhooks import Webhooks

Write = Callable[[Any], Awaitable[object]]

WRITES: dict[str, tuple[Write, str]] = {
    "seal": (
        lambda pool: SealStore(pool).append([NewSeal(1, 1, 1, bytes(32), bytes(32), bytes(32))]),
        "SELECT count(*) FROM saldo.seals",
    ),
    "user": (
        lambda pool: create_user(pool, "someone", timeout_seconds=1),
        "SELECT count(*) FROM saldo.users WHERE name = 'someone'",
    ),
    "key": (
        lambda pool: Keys(pool, timeout_seconds=1).create(
            NewKey("key", ["read"], None, None, None), bytes(32), keys_max=10
        ),
        "SELECT count(*) FROM saldo.keys",
    ),
    "webhook": (
        lambda pool: Webhooks(pool, timeout_seconds=1).create(
            "https://example.com/", None, None, "secret", webhooks_max=10
        ),
        "SELECT count(*) FROM saldo.webhooks",
    ),
    "sink": (
        lambda pool: Sinks(pool, lease_seconds=1).create("sink"),
        "SELECT count(*) FROM saldo.sinks WHERE name = 'sink'",
    ),
}

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


async def test_no_timeout_cancellation_or_stop_makes_an_unreplicated_write_visible(
    own_server: EmbeddedServer,
) -> None:
    prepare_schema(
        own_server.owner_role_url,
        own_server.service_role_url,
        currency_decimals=2,
        max_lateness=None,
    )
    url = own_server.service_role_url
    with psycopg.connect(
        own_server.superuser_url.replace("@/postgres", "@/saldo"), autocommit=True
    ) as admin:
        (user_id,) = admin.execute("SELECT id FROM saldo.create_user_1('a')").fetchone() or (0,)

        def count(query: str) -> int:
            (found,) = admin.execute(query).fetchone() or (0,)
            return int(found)

        async def until_waiting(committers: int) -> None:
            while count(WAITING) < committers:
                await asyncio.sleep(0)

        with await_absent_standby(own_server):
            committers = 1  # the witness
            # The driver's own timeout for a statement is a second longer than the server's.
            pool = await open_pool(url, connections=2, statement_timeout_seconds=0.05)
            for name, (write, written) in WRITES.items():
                with pytest.raises(ConnectionLostError):
                    await write(pool)
                assert count(written) == 0, name
                committers += 1
                await until_waiting(committers)
            pool.terminate()

            pool = await open_pool(url, connections=1, statement_timeout_seconds=30)
            call = asyncio.ensure_future(create_user(pool, "cancelled", timeout_seconds=1))
            committers += 1
            await until_waiting(committers)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            pool.terminate()

            engine = create_engine(create_settings(url), url)
            engine.start()
            post = asyncio.ensure_future(engine.post(TransactionRequest(uuid4(), user_id, 1, None)))
            committers += 1
            await until_waiting(committers)
            await engine.stop(0.01)
            with pytest.raises(OutcomeUnknownError):
                await post
            assert count("SELECT count(*) FROM saldo.transactions WHERE kind <> 0") == 0
            assert count("SELECT count(*) FROM saldo.users WHERE name = 'cancelled'") == 0
            assert count(WAITING) == committers
