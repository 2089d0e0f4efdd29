"""A cache of sessions, with batched queries and a rate limit for unknown cookies.

A cookie must be looked up before its visitor is known. Without a limit, invented cookies could occupy the readers' few
connections. At most two queries therefore run at a time, and one of them is reserved for cookies that are in the cache.
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
"""Time in seconds for which a cached session is valid without a query.

A session that was ended in another process can stay valid for this long.
"""

UNKNOWN_QUERY_INTERVAL_SECONDS: Final = 0.25
"""Minimum interval in seconds between two queries for cookies that are not in the cache, as for unknown keys."""

CACHED_SESSIONS_MAX: Final = 10_000
"""Maximum number of cached sessions. The sessions that were queried least recently are evicted first."""

BATCH_SIZE_MAX: Final = 1000
"""Maximum number of cookies per query."""

Find = Callable[[list[bytes]], Awaitable[Mapping[bytes, ConsoleSession]]]


class SessionCache:
    """A cache of sessions by the digests of their secrets."""

    def __init__(self, find: Find, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            find: A function that returns the sessions with the given digests that have not expired, by digest.
        """
        self._find = find
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[ConsoleSession, float]] = OrderedDict()
        self._again = BatchedReads(self._query, keys_max=BATCH_SIZE_MAX)
        self._new = BatchedReads(self._query_paced, keys_max=BATCH_SIZE_MAX)
        self._queried_at = float("-inf")

    async def find(self, digest: bytes) -> ConsoleSession | None:
        """Return the session with a digest, or None if it does not exist, has ended or has expired.

        Raises:
            StoreError: The database is not available.
        """
        known = self._known.get(digest)
        if known is None:
            return await self._new.get(digest)
        session, valid_until = known
        if self._clock() < valid_until:
            return session
        return await self._again.get(digest)

    def add(self, digest: bytes, session: ConsoleSession) -> None:
        """Add a session that has just begun in this process.

        The cached sessions of the same key are removed, because the new session may have ended one of them.
        """
        for other, (known, _) in [*self._known.items()]:
            if known.holder == session.holder:
                del self._known[other]
        self._known[digest] = session, self._clock() + CACHE_SECONDS
        self._evict()

    def mark_used(self, digest: bytes) -> None:
        """Record that the last use of a session has just been updated in the database."""
        known = self._known.get(digest)
        if known is not None:
            self._known[digest] = known[0]._replace(is_stale=False), known[1]

    def remove(self, digest: bytes) -> None:
        """Remove a session that has ended."""
        self._known.pop(digest, None)

    async def _query(self, digests: list[bytes]) -> Mapping[bytes, ConsoleSession]:
        found = await self._find(digests)
        valid_until = self._clock() + CACHE_SECONDS
        for digest in digests:
            self._known.pop(digest, None)
            if digest in found:
                self._known[digest] = found[digest], valid_until
        self._evict()
        return found

    def _evict(self) -> None:
        while len(self._known) > CACHED_SESSIONS_MAX:
            self._known.popitem(last=False)

    async def _query_paced(self, digests: list[bytes]) -> Mapping[bytes, ConsoleSession]:
        wait = self._queried_at + UNKNOWN_QUERY_INTERVAL_SECONDS - self._clock()
        if wait > 0:
            await asyncio.sleep(wait)
        self._queried_at = self._clock()
        return await self._query(digests)
