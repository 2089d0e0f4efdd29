"""Direct queries of commands to the database, beside a running service or alone."""

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
    opened: Callable[[Settings, str], AbstractAsyncContextManager[S]],
    question: Callable[[S], Awaitable[T]],
    *,
    look: bool = False,
) -> T:
    """Run a query on the database, and return its result.

    Args:
        opened: Opens the store on a connection string.
        question: The query on the store.
        look: Whether the query only reads. Then nothing in the database is changed, and no lock is taken that blocks
            writers.

    Raises:
        ConfigurationError: The database can't be used. The message is one line.
    """

    async def answer(database_url: str) -> T:
        async with opened(settings, database_url) as store:
            return await question(store)

    purpose = Purpose.READ if look else Purpose.CHANGE
    with Database(settings, beside_service=True, purpose=purpose) as database_url:
        try:
            return asyncio.run(answer(database_url))
        except StoreError as error:
            raise ConfigurationError(f"the database: {error}") from error
