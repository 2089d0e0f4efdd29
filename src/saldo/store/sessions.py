"""Sessions of the console: who is signed in. All of it lives in PostgreSQL; of a session's secret only a hash."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

from saldo.store.connection import fetch


class Session(NamedTuple):
    """A session that is not over.

    Attributes:
        holder: the key's name in the log.
        binding: a hash of the session's secret and the key's hash.
        stale: its last use was so long ago that it is to be written.
    """

    holder: str
    binding: bytes
    stale: bool


class SessionLimits(NamedTuple):
    """How long sessions last, and how many there are; see the settings of the same names."""

    idle: timedelta
    lifetime: timedelta
    of_key_max: int


class Sessions:
    """Reads and writes them over a pool of connections. Each call is one statement, and raises StoreError when the
    database can't be asked."""

    def __init__(self, pool: Any, limits: SessionLimits, *, timeout_seconds: float) -> None:
        self._pool = pool
        self._limits = limits
        self._timeout_seconds = timeout_seconds

    async def begin(self, digest: bytes, holder: str, binding: bytes) -> None:
        """A new one. Ends those that are over, and of the holder's the ones used least lately if they are too many."""
        idle, lifetime, of_key_max = self._limits
        await self._fetch("session_begin", digest, binding, holder, of_key_max - 1, idle, lifetime)

    async def find(self, digest: bytes) -> Session | None:
        """The session under a digest; None: there is none, or it is over."""
        idle, lifetime, _ = self._limits
        # An idle time is exact enough to a tenth of it, and most requests write nothing then.
        rows = await self._fetch("session_find", digest, idle, lifetime, idle / 10)
        return Session(*rows[0]) if rows else None

    async def use(self, digest: bytes) -> None:
        """It is in use."""
        await self._fetch("session_use", digest)

    async def end(self, digest: bytes) -> None:
        """Nobody is let in with it any more."""
        await self._fetch("session_end", digest)

    async def _fetch(self, name: str, *arguments: Any) -> Any:
        return await fetch(self._pool, name, *arguments, timeout_seconds=self._timeout_seconds)
