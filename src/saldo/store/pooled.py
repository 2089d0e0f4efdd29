"""What is read and written over a pool of connections of its own, each call one statement."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from saldo.store.connection import fetch, open_pool


class Pooled:
    """Its pool. Each call of what is made of it raises StoreError when the database can't be asked."""

    application_name: ClassVar[str]
    """As the database's own views show it."""

    def __init__(self, pool: Any, *, timeout_seconds: float) -> None:
        """
        Args:
            timeout_seconds: how long to wait for a connection.
        """
        self._pool = pool
        self._timeout_seconds = timeout_seconds

    @classmethod
    async def open(cls, url: str, *, connections: int, timeout_seconds: float) -> Self:
        """With a pool of its own; connections are made when they are needed."""
        pool = await open_pool(
            url,
            connections=connections,
            statement_timeout_seconds=timeout_seconds,
            application_name=cls.application_name,
        )
        return cls(pool, timeout_seconds=timeout_seconds)

    @property
    def pool(self) -> Any:
        """Its connections."""
        return self._pool

    def terminate(self) -> None:
        """Closes the connections at once."""
        self._pool.terminate()

    async def _fetch(self, name: str, *arguments: Any) -> Any:
        rows: Any = await fetch(self._pool, name, *arguments, timeout_seconds=self._timeout_seconds)
        return rows
