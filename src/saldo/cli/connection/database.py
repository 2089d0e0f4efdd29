"""The database of a command that uses it directly: the one in SALDO_DATABASE_URL, or the embedded one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Annotated, TypeAlias, TypeVar

import typer

from saldo.bootstrap.database import Database, Purpose
from saldo.settings.model import Settings
from saldo.store.errors import (
    ConfigurationError,
    ConnectionLostError,
    NotConnectedError,
    OutcomeUncertainError,
    StoreError,
)

S = TypeVar("S")
T = TypeVar("T")

LocalDatabase: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--local",
        help="If SALDO_DATABASE_URL is not set and no service is running on the data directory (SALDO_DATA_DIR), start "
        "the embedded database in this directory for the duration of the command.",
    ),
]


def open_database(settings: Settings, purpose: Purpose, *, local: bool) -> Database:
    """Return the database of a command, which is a context manager.

    Args:
        local: Whether the embedded server is started if none is running.
    """
    return Database(settings, beside_service=True, purpose=purpose, may_start=local)


def query_database(
    settings: Settings,
    open_store: Callable[[Settings, str], AbstractAsyncContextManager[S]],
    query: Callable[[S], Awaitable[T]],
    *,
    local: bool,
    read_only: bool = False,
    recovery_hint: str = "",
) -> T:
    """Run a query on the database, and return its result.

    Args:
        open_store: Opens the store on a connection string.
        query: The query on the store.
        local: Whether the embedded server is started if none is running.
        read_only: Whether the query only reads. If so, nothing in the database is changed, and no lock that blocks
            writers is taken.
        recovery_hint: How the user finds out whether a change was made, for a query whose connection breaks.

    Raises:
        ConfigurationError: The database can't be used, and nothing was changed. The message is one line.
        OutcomeUncertainError: It is unknown whether the change was made. The message ends with the hint.
    """

    async def run(database_url: str) -> T:
        async with open_store(settings, database_url) as store:
            return await query(store)

    purpose = Purpose.READ if read_only else Purpose.CHANGE
    with open_database(settings, purpose, local=local) as database_url:
        try:
            if read_only:
                return asyncio.run(run(database_url))
            with report_unknown_outcome(recovery_hint):
                return asyncio.run(run(database_url))
        except OutcomeUncertainError:
            raise
        except StoreError as error:
            raise ConfigurationError(f"database: {error}") from error


@contextmanager
def report_unknown_outcome(recovery_hint: str) -> Iterator[None]:
    """Add a hint to the error of a change of which it is unknown whether it was made.

    An error that was raised before the first statement was sent, or that proves that nothing was changed, is raised
    unchanged.

    Raises:
        OutcomeUncertainError: The connection broke, or its response could not be read, after a statement was sent.
    """
    try:
        yield
    except NotConnectedError:
        raise
    except (ConnectionLostError, OutcomeUncertainError) as error:
        message = f"database: {error}; the change may have been made: {recovery_hint}"
        raise OutcomeUncertainError(message) from error
