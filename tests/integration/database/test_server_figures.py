"""The figures of the database server that the metrics contain: sessions, the archiver, pools, and a replica's lag."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.postgresql.standbys import run_standby
from saldo.store.connections.connection import count_waiters, fetch, open_pool
from saldo.store.embedded import EmbeddedServer
from saldo.store.server_figures import ServerFigures, read_replica_lag, read_server_figures

POLL_SECONDS = 0.05
LOCK = "SELECT pg_advisory_xact_lock(7)"
SWITCH_WAL = "SELECT pg_logical_emit_message(true, 'test', 'x'), pg_switch_wal()"


@pytest.fixture
async def pool(embedded_server: EmbeddedServer) -> AsyncIterator[Any]:
    """Return a pool with a single connection."""
    opened = await open_pool(
        embedded_server.service_role_url, connections=1, statement_timeout_seconds=20
    )
    yield opened
    opened.terminate()


async def _wait_for(is_satisfied: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await is_satisfied():
            await asyncio.sleep(POLL_SECONDS)


async def test_sessions_that_wait_for_a_lock_are_counted(
    pool: Any, embedded_server: EmbeddedServer
) -> None:
    url = embedded_server.service_role_url
    async with (
        await psycopg.AsyncConnection.connect(url) as holder,
        await psycopg.AsyncConnection.connect(url) as waiter,
    ):
        await holder.execute(LOCK)
        before = await read_server_figures(pool)
        assert before.longest_transaction_seconds > 0
        assert before.archived_files is None
        assert before.archive_failures is None
        waiting = asyncio.create_task(waiter.execute(LOCK))

        async def one_more_waits() -> bool:
            return (await read_server_figures(pool)).waiting_sessions > before.waiting_sessions

        await _wait_for(one_more_waits)
        await holder.rollback()
        await waiting


async def test_requests_that_wait_for_a_connection_are_counted(pool: Any) -> None:
    async with pool.acquire():
        assert count_waiters(pool) == 0
        waiting = [
            asyncio.create_task(fetch(pool, "connections/server_activity")) for _ in range(3)
        ]

        async def all_wait() -> bool:
            return count_waiters(pool) == 3

        await _wait_for(all_wait)
        waiting.pop().cancel()

        async def two_wait() -> bool:
            return count_waiters(pool) == 2

        await _wait_for(two_wait)
    await asyncio.gather(*waiting)
    assert count_waiters(pool) == 0


async def test_archiver_and_replica_report_that_they_are_behind(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    server = EmbeddedServer(tmp_path / "data", archive_dir=archive)
    server.start()
    try:
        await _check_archiver(server, archive)
        with run_standby(server, tmp_path / "standby") as standby:
            await _check_replica(server, standby)
    finally:
        server.stop()


async def _check_archiver(server: EmbeddedServer, archive: Path) -> None:
    """Check the counts while files are archived, and after the archive has become a file."""
    pool = await open_pool(server.superuser_url, connections=1, statement_timeout_seconds=20)

    async def read() -> ServerFigures:
        return await read_server_figures(pool)

    with psycopg.connect(server.superuser_url, autocommit=True) as admin:
        admin.execute(SWITCH_WAL)

        async def is_archived() -> bool:
            return bool((await read()).archived_files)

        await _wait_for(is_archived)
        assert (await read()).archive_failures == 0
        shutil.rmtree(archive)
        archive.write_text("not a directory")
        admin.execute(SWITCH_WAL)

        async def has_failed() -> bool:
            return bool((await read()).archive_failures)

        await _wait_for(has_failed)
    pool.terminate()


async def _check_replica(server: EmbeddedServer, standby: EmbeddedServer) -> None:
    """Check the lag of a replica that has replayed everything, and of one whose replay is paused."""
    pool = await open_pool(
        standby.superuser_url, connections=1, statement_timeout_seconds=20, any_server=True
    )

    async def is_even() -> bool:
        return await read_replica_lag(pool) == 0

    async def lags() -> bool:
        return (await read_replica_lag(pool) or 0) > 0

    with (
        psycopg.connect(server.superuser_url, autocommit=True) as primary,
        psycopg.connect(standby.superuser_url, autocommit=True) as replica,
    ):
        commit = "SELECT pg_logical_emit_message(true, 'test', 'x')"
        primary.execute(commit)

        async def has_replayed() -> bool:
            row = replica.execute("SELECT pg_last_xact_replay_timestamp() IS NOT NULL").fetchone()
            return row == (True,)

        await _wait_for(has_replayed)
        await _wait_for(is_even)
        replica.execute("SELECT pg_wal_replay_pause()")
        primary.execute(commit)
        await _wait_for(lags)
        replica.execute("SELECT pg_wal_replay_resume()")
        await _wait_for(is_even)
    pool.terminate()
