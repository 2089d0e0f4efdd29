"""A cache of sessions, with batched queries and a rate limit for unknown cookies.

A cookie must be looked up before its visitor is authenticated. Without a limit, requests with invented cookies could
occupy all database connections. Therefore at most two queries run at a time: one for cookies that are in the cache, and
one for all others.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from saldo.store.batched_reads import BatchedReads
from saldo.store.console_sessions import ConsoleSession

CACHE_SECONDS: Final = 1.0
"""Time in seconds for which a cached session is used without a query.

A session that was ended in another process can stay valid for this long.
"""

UNKNOWN_QUERY_INTERVAL_SECONDS: Final = 0.25
"""Minimum interval in seconds between two queries for cookies that are not in the cache."""

CACHED_SESSIONS_MAX: Final = 10_000
"""Maximum number of cached sessions. The sessions that were queried least recently are evicted first."""

BATCH_SIZE_MAX: Final = 1000
"""Maximum number of cookies per query."""

FindSessions = Callable[[list[bytes]], Awaitable[Mapping[bytes, ConsoleSession]]]


class SessionCache:
    """A cache of sessions by the digests of their secrets."""

    def __init__(self, find: FindSessions, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            find: A function that returns the sessions with the given digests, by digest. It leaves out expired
                sessions.
        """
        self._find = find
        self._clock = clock
        self._sessions: OrderedDict[bytes, tuple[ConsoleSession, float]] = OrderedDict()
        self._cached_reads = BatchedReads(self._query, keys_max=BATCH_SIZE_MAX)
        self._unknown_reads = BatchedReads(self._query_paced, keys_max=BATCH_SIZE_MAX)
        self._queried_at = float("-inf")

    async def find(self, digest: bytes) -> ConsoleSession | None:
        """Return the session with a digest, or None if it does not exist, has ended or has expired.

        Raises:
            StoreError: The database is not available.
        """
        cached = self._sessions.get(digest)
        if cached is None:
            return await self._unknown_reads.get(digest)
        session, valid_until = cached
        if self._clock() < valid_until:
            return session
        return await self._cached_reads.get(digest)

    def add(self, digest: bytes, session: ConsoleSession) -> None:
        """Add a session that has just begun in this process.

        The cached sessions of the same key are removed, because the new session may have ended one of them.
        """
        for other_digest, (cached, _) in [*self._sessions.items()]:
            if cached.holder == session.holder:
                del self._sessions[other_digest]
        self._sessions[digest] = session, self._clock() + CACHE_SECONDS
        self._evict()

    def mark_used(self, digest: bytes) -> None:
        """Record that the last use of a session has just been updated in the database."""
        cached = self._sessions.get(digest)
        if cached is not None:
            self._sessions[digest] = cached[0]._replace(is_stale=False), cached[1]

    def remove(self, digest: bytes) -> None:
        """Remove a session that has ended."""
        self._sessions.pop(digest, None)

    async def _query(self, digests: list[bytes]) -> Mapping[bytes, ConsoleSession]:
        sessions = await self._find(digests)
        valid_until = self._clock() + CACHE_SECONDS
        for digest in digests:
            self._sessions.pop(digest, None)
            if digest in sessions:
                self._sessions[digest] = sessions[digest], valid_until
        self._evict()
        return sessions

    def _evict(self) -> None:
        while len(self._sessions) > CACHED_SESSIONS_MAX:
            self._sessions.popitem(last=False)

    async def _query_paced(self, digests: list[bytes]) -> Mapping[bytes, ConsoleSession]:
        wait = self._queried_at + UNKNOWN_QUERY_INTERVAL_SECONDS - self._clock()
        if wait > 0:
            await asyncio.sleep(wait)
        self._queried_at = self._clock()
        return await self._query(digests)
