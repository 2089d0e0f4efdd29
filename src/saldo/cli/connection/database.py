"""Queries that commands run directly in the database, whether or not a service is running."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from saldo.bootstrap.database import Database, Purpose
from saldo.settings.model import Settings
from saldo.store.errors import ConfigurationError, StoreError

S = TypeVar("S")
T = TypeVar("T")


def query_database(
    settings: Settings,
    open_store: Callable[[Settings, str], AbstractAsyncContextManager[S]],
    query: Callable[[S], Awaitable[T]],
    *,
    read_only: bool = False,
) -> T:
    """Run a query on the database, and return its result.

    Args:
        open_store: Opens the store on a connection string.
        query: The query on the store.
        read_only: Whether the query only reads. If so, nothing in the database is changed, and no lock that blocks
            writers is taken.

    Raises:
        ConfigurationError: The database can't be used. The message is one line.
    """

    async def run(database_url: str) -> T:
        async with open_store(settings, database_url) as store:
            return await query(store)

    purpose = Purpose.READ if read_only else Purpose.CHANGE
    with Database(settings, beside_service=True, purpose=purpose) as database_url:
        try:
            return asyncio.run(run(database_url))
        except StoreError as error:
            raise ConfigurationError(f"database: {error}") from error
