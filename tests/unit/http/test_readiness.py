"""Readiness probes share one query to the database, and none waits for long."""

from __future__ import annotations

import asyncio

import pytest

from saldo.http.readiness import (
    CACHE_SECONDS,
    DISCONNECT_CHECK_SECONDS,
    ProbeDisconnectedError,
    Readiness,
)
from saldo.store.errors import ConnectionLostError


class Database:
    """A database that answers on command, and counts its queries."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.fails = False

    async def ready(self) -> bool:
        self.asked += 1
        await self.answers.wait()
        if self.fails:
            raise ConnectionLostError("gone")
        return True


class Clock:
    """A clock that stands still unless the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_thousand_concurrent_probes_run_one_query() -> None:
    database, clock = Database(), Clock()
    readiness = Readiness(clock)
    probes = [asyncio.create_task(readiness.check(database.ready)) for _ in range(1000)]
    await turns()
    database.answers.set()
    assert all(await asyncio.gather(*probes))
    assert database.asked == 1
    clock.now += CACHE_SECONDS * 0.99
    assert await readiness.check(database.ready)
    assert database.asked == 1
    clock.now += CACHE_SECONDS
    assert await readiness.check(database.ready)
    assert database.asked == 2


async def test_probes_are_answered_without_new_queries_while_the_database_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The first probe waits for the database, and its timers, which use the real clock, must not expire on a busy
    # machine.
    monkeypatch.setattr("saldo.http.readiness.WAIT_SECONDS_MAX", 600.0)
    monkeypatch.setattr("saldo.http.readiness.DISCONNECT_CHECK_SECONDS", 600.0)
    database, clock = Database(), Clock()
    readiness = Readiness(clock)
    first = asyncio.create_task(readiness.check(database.ready))
    await turns()
    clock.now += 600.0
    assert (
        await asyncio.gather(*(readiness.check(database.ready) for _ in range(100)))
        == [False] * 100
    )
    assert database.asked == 1
    database.answers.set()
    assert await first
    assert await readiness.check(database.ready)
    assert database.asked == 1


async def test_failed_query_is_an_answer() -> None:
    database, clock = Database(), Clock()
    readiness = Readiness(clock)
    database.fails = True
    database.answers.set()
    assert not await readiness.check(database.ready)
    assert not await readiness.check(database.ready)
    assert database.asked == 1
    database.fails = False
    clock.now += CACHE_SECONDS
    assert await readiness.check(database.ready)


async def test_disconnected_probes_do_not_accumulate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "saldo.http.readiness.DISCONNECT_CHECK_SECONDS", DISCONNECT_CHECK_SECONDS / 100
    )
    database, clock = Database(), Clock()
    readiness = Readiness(clock)
    probes = [
        asyncio.create_task(readiness.check(database.ready, is_gone=lambda: True))
        for _ in range(100)
    ]
    ended = await asyncio.gather(*probes, return_exceptions=True)
    assert {type(each) for each in ended} == {ProbeDisconnectedError}
    database.answers.set()
    assert await readiness.check(database.ready)
    assert database.asked == 1
