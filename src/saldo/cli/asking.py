"""Asking the database from the command line, beside a service that runs or alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from saldo.bootstrap.database import Database
from saldo.settings import Settings
from saldo.store.errors import SetUpError, StoreError

S = TypeVar("S")
T = TypeVar("T")


def ask(
    settings: Settings,
    opened: Callable[[Settings, str], AbstractAsyncContextManager[S]],
    question: Callable[[S], Awaitable[T]],
) -> T:
    """What the database answers.

    Args:
        opened: opens what is asked, on a connection string.

    Raises:
        SetUpError: it can't be asked; one line.
    """

    async def answer(database_url: str) -> T:
        async with opened(settings, database_url) as store:
            return await question(store)

    with Database(settings, beside_service=True) as database_url:
        try:
            return asyncio.run(answer(database_url))
        except StoreError as error:
            raise SetUpError(f"the database: {error}") from error
