"""The session cache: forged cookies cause few queries, and those of valid sessions none."""

from __future__ import annotations

import asyncio

import pytest

from saldo.console.session_cache import CACHE_SECONDS, UNKNOWN_QUERY_INTERVAL_SECONDS, SessionCache
from saldo.store.console_sessions import ConsoleSession


class Table:
    """A table of sessions that records its queries."""

    def __init__(self, *digests: bytes) -> None:
        self.rows = {digest: ConsoleSession("key 1", digest, is_stale=True) for digest in digests}
        self.asked: list[list[bytes]] = []

    async def find(self, digests: list[bytes]) -> dict[bytes, ConsoleSession]:
        self.asked.append(digests)
        await asyncio.sleep(0)
        return {digest: self.rows[digest] for digest in digests if digest in self.rows}


class Clock:
    """A clock that stands still unless the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_unknown_session_cookies_share_rate_limited_queries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, clock = Table(b"real"), Clock()
    cache = SessionCache(table.find, clock)
    made_up = [str(number).encode() for number in range(500)]
    assert await asyncio.gather(*map(cache.find, made_up)) == [None] * 500
    assert len(table.asked) == 1
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("saldo.console.session_cache.asyncio.sleep", sleep)
    assert await cache.find(b"made up") is None
    assert waited[0] == UNKNOWN_QUERY_INTERVAL_SECONDS
    assert len(table.asked) == 2


async def test_session_is_cached_briefly_and_then_read_again() -> None:
    table, clock = Table(b"real"), Clock()
    cache = SessionCache(table.find, clock)
    for _ in range(100):
        assert await cache.find(b"real") == table.rows[b"real"]
    assert len(table.asked) == 1
    cache.mark_used(b"real")
    found = await cache.find(b"real")
    assert found is not None and not found.is_stale
    clock.now += CACHE_SECONDS
    assert await cache.find(b"real") == table.rows[b"real"]
    assert len(table.asked) == 2
    del table.rows[b"real"]
    clock.now += CACHE_SECONDS
    assert await cache.find(b"real") is None


async def test_ended_session_leaves_the_cache_and_a_new_one_enters() -> None:
    table, clock = Table(), Clock()
    cache = SessionCache(table.find, clock)
    session = ConsoleSession("key 1", b"", is_stale=False)
    cache.add(b"new", session)
    assert await cache.find(b"new") == session
    assert table.asked == []
    cache.remove(b"new")
    assert await cache.find(b"new") is None
