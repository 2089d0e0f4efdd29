"""Connections as Saldo needs them: with the session settings that the rules rest on."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import asyncpg

from saldo.store.errors import ConnectionLostError, SetUpError
from saldo.store.statements import statement

CONNECT_SECONDS_MAX = 5.0
"""How long one attempt to connect may take before the next is made."""

Connection: TypeAlias = Any
"""asyncpg's connection; the driver ships no types."""


async def connect(
    url: str, *, application_name: str, statement_timeout_seconds: float
) -> Connection:
    """One connection for posting.

    Raises:
        ConnectionLostError: it could not be made.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            connection = await asyncpg.connect(url)
            try:
                await configure(
                    connection,
                    application_name=application_name,
                    statement_timeout_seconds=statement_timeout_seconds,
                )
            except BaseException:
                connection.terminate()
                raise
            return connection
    except Exception as error:
        # Whatever the server has against us: no request is to blame, and nothing was sent.
        raise ConnectionLostError(str(error) or type(error).__name__) from error


async def configure(
    connection: Connection, *, application_name: str, statement_timeout_seconds: float
) -> None:
    """Sets what a session must have, and refuses one that can't have it."""
    milliseconds = str(int(statement_timeout_seconds * 1000))
    await connection.fetchrow(statement("session"), milliseconds, application_name)


async def open_pool(url: str, *, connections: int, statement_timeout_seconds: float) -> Any:
    """A pool of connections for reading; connections are made as they are needed.

    Raises:
        SetUpError: the connection string can't be used.
    """

    async def init(connection: Connection) -> None:
        await configure(
            connection,
            application_name="saldo read",
            statement_timeout_seconds=statement_timeout_seconds,
        )

    try:
        return await asyncpg.create_pool(
            url,
            min_size=0,
            max_size=connections,
            # The pool's own reset would undo the session settings after each use.
            reset=_keep_session,
            setup=None,
            init=init,
            timeout=CONNECT_SECONDS_MAX,
            # The server ends a statement; this is for a server that says nothing at all.
            command_timeout=statement_timeout_seconds + 1,
        )
    except (ValueError, asyncpg.InterfaceError) as error:
        raise SetUpError(f"the connection string can't be used: {error}") from error


async def _keep_session(connection: Any) -> None:
    """Nothing: we only run single statements, which leave nothing behind."""
