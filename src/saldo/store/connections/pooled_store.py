"""A base class of stores that have their own pool of connections."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from saldo.store.connections.connection import fetch, open_pool


class PooledStore:
    """A store with its own pool. Each call is one statement, and raises StoreError when the statement fails."""

    application_name: ClassVar[str]
    """Application name of the connections, which `pg_stat_activity` shows."""

    def __init__(self, pool: Any, *, timeout_seconds: float) -> None:
        """
        Args:
            timeout_seconds: The time to wait for a connection of the pool.
        """
        self._pool = pool
        self._timeout_seconds = timeout_seconds

    @classmethod
    async def open(cls, url: str, *, connections: int, timeout_seconds: float) -> Self:
        """Create a store with its own pool. Connections are opened on demand."""
        pool = await open_pool(
            url,
            connections=connections,
            statement_timeout_seconds=timeout_seconds,
            application_name=cls.application_name,
        )
        return cls(pool, timeout_seconds=timeout_seconds)

    @property
    def pool(self) -> Any:
        """The pool of connections."""
        return self._pool

    def terminate(self) -> None:
        """Terminate the connections immediately."""
        self._pool.terminate()

    async def _fetch(self, name: str, *arguments: Any) -> Any:
        rows: Any = await fetch(self._pool, name, *arguments, timeout_seconds=self._timeout_seconds)
        return rows
