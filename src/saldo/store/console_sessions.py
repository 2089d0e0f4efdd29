"""Sessions of the console in PostgreSQL. Only a hash of a session's secret is stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

from saldo.store.connections.connection import fetch


class ConsoleSession(NamedTuple):
    """A session that has not expired.

    Attributes:
        holder: The name by which the service's log identifies the key.
        binding: A hash of the session's secret and the key's hash.
        is_stale: Whether the recorded time of the last use is so old that it must be updated.
    """

    holder: str
    binding: bytes
    is_stale: bool


class SessionLimits(NamedTuple):
    """The limits of sessions: idle time, lifetime, and number for each key. See the settings of the same names."""

    idle: timedelta
    lifetime: timedelta
    per_key_max: int


class ConsoleSessions:
    """Reads and writes sessions over a pool of connections.

    Each call is one statement, and raises StoreError when the statement fails.
    """

    def __init__(self, pool: Any, limits: SessionLimits, *, timeout_seconds: float) -> None:
        self._pool = pool
        self._limits = limits
        self._timeout_seconds = timeout_seconds

    async def create_session(self, secret_digest: bytes, key_name: str, key_binding: bytes) -> None:
        """Create a session. Delete expired sessions, and the holder's least recently used sessions if there would be
        more than `per_key_max`."""
        idle, lifetime, per_key_max = self._limits
        await self._fetch(
            "console_sessions/create",
            secret_digest,
            key_binding,
            key_name,
            per_key_max - 1,
            idle,
            lifetime,
        )

    async def find_sessions(self, digests: list[bytes]) -> dict[bytes, ConsoleSession]:
        """Return the sessions with the given digests that have not expired, by digest."""
        idle, lifetime, _ = self._limits
        # A use is recorded only if the recorded one is older than a tenth of the idle time, so that most requests write
        # nothing.
        rows = await self._fetch("console_sessions/find", digests, idle, lifetime, idle / 10)
        return {digest: ConsoleSession(*session) for digest, *session in rows}

    async def record_use(self, digest: bytes) -> None:
        """Record the current time as the last use of a session."""
        await self._fetch("console_sessions/record_use", digest)

    async def delete_session(self, digest: bytes) -> None:
        """Delete a session, so that it no longer authenticates requests."""
        await self._fetch("console_sessions/delete", digest)

    async def _fetch(self, name: str, *arguments: Any) -> Any:
        return await fetch(self._pool, name, *arguments, timeout_seconds=self._timeout_seconds)
