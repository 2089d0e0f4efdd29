"""Connections as Saldo needs them, directly or through a pooler.

A pooler that shares server connections between transactions may run each statement in another
session. Two things of a session matter to us: settings, which are therefore set where it counts
(sql/post.sql), made in each session we come by (sql/session.sql) and asked of the role's defaults
(sql/session_defaults.sql); and prepared statements, which we do without when the pooler doesn't
keep account of them (docs/howto/postgresql.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, Final, TypeAlias
from uuid import uuid4

import asyncpg

from saldo.store.errors import ConnectionLostError, SetUpError, translated
from saldo.store.statements import statement
from saldo.store.url import first_line, hosts_of, shown

CONNECT_SECONDS_MAX = 5.0
"""How long one attempt to connect may take before the next is made."""

Connection: TypeAlias = Any
"""A `Session`; the driver ships no types."""


ARRAYS: Final = {
    651: ("cidr", 650),
    1000: ("bool", 16),
    1001: ("bytea", 17),
    1005: ("int2", 21),
    1007: ("int4", 23),
    1009: ("text", 25),
    1016: ("int8", 20),
    1185: ("timestamptz", 1184),
    1187: ("interval", 1186),
    2951: ("uuid", 2950),
}
"""The types of the arrays we pass and are passed, by number: the element's name and number. PostgreSQL fixes them."""


class Session(asyncpg.Connection):  # type: ignore[misc]
    """The driver's connection, and what we know of the database behind it."""

    distributed = False
    """Whether its ledger is distributed; see `saldo.store.statements`."""

    def learn(self, *, distributed: bool) -> None:
        """Notes what the database has said. A method: what a pool gives out passes those on."""
        self.distributed = distributed

    async def _introspect_types(
        self,
        typeoids: Iterable[int],
        timeout: float | None,  # noqa: ASYNC109 - the driver's
    ) -> tuple[Any, Any]:
        """What the arrays are made of, without asking.

        The driver asks the catalog for it in each session, once for each statement that has some. That takes longer
        the more tables there are, and on Citus each has 64 shards: most of a second, before a batch can be sent.
        """
        asked = set(typeoids)
        if not asked <= ARRAYS.keys():
            return await super()._introspect_types(asked, timeout)  # type: ignore[no-any-return]
        # Named: nothing has taken the place of the statement that is being prepared.
        return [_array(oid, *ARRAYS[oid]) for oid in sorted(asked)], SimpleNamespace(name="none")


def _array(oid: int, element: str, element_oid: int) -> dict[str, Any]:
    """As a row of the driver's own question."""
    row: dict[str, Any] = dict.fromkeys(
        ("basetype", "range_subtype", "attrtypoids", "attrnames", "basetype_name")
    )
    row |= {"oid": oid, "ns": "pg_catalog", "name": f"_{element}", "kind": b"b"}
    return row | {"elemtype": element_oid, "elemdelim": ",", "elemtype_name": element}


async def connect(
    url: str,
    *,
    application_name: str,
    statement_timeout_seconds: float,
    node: tuple[str, int] | None = None,
) -> Connection:
    """One connection for posting.

    Args:
        node: the host and port to connect to instead of those of the connection string.

    Raises:
        ConnectionLostError: it could not be made.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            other = {} if node is None else {"host": node[0], "port": node[1]}
            connection = await _open(url, connection_class=Session, **other)
            try:
                await _configure(connection, application_name, statement_timeout_seconds)
            except BaseException:
                connection.terminate()
                raise
            return connection
    except TimeoutError as error:
        raise ConnectionLostError(f"no answer in {CONNECT_SECONDS_MAX:.0f} s") from error
    except Exception as error:
        # Whatever the server has against us: no request is to blame, and nothing was sent.
        raise ConnectionLostError(first_line(error)) from error


async def check(url: str) -> None:
    """Tries the service's connection once, before the service starts.

    Raises:
        SetUpError: one line for the operator.
    """
    try:
        connection = await connect(url, application_name="saldo check", statement_timeout_seconds=5)
    except ConnectionLostError as error:
        raise SetUpError(f"database {shown(url)}: {error}") from error
    await connection.close()


async def is_distributed(url: str) -> bool:
    """Whether the ledger is distributed; False while the database is away: then a lane finds it out (`Poster`)."""
    try:
        connection = await connect(url, application_name="saldo check", statement_timeout_seconds=5)
    except ConnectionLostError:
        return False
    distributed = bool(connection.distributed)
    await connection.close()
    return distributed


async def open_pool(
    url: str,
    *,
    connections: int,
    statement_timeout_seconds: float,
    application_name: str = "saldo read",
) -> Any:
    """A pool of connections for single statements; connections are made as they are needed.

    Raises:
        SetUpError: the connection string can't be used.
    """

    async def init(connection: Connection) -> None:
        await _configure(connection, application_name, statement_timeout_seconds)

    try:
        return await asyncpg.create_pool(
            url,
            connect=_open,
            connection_class=Session,
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


async def fetch(pool: Any, name: str, *arguments: Any, timeout_seconds: float | None = None) -> Any:
    """The rows of one of our statements (sql/<name>.sql).

    Args:
        timeout_seconds: how long to wait for a connection of the pool; None: for one that is free.

    Raises:
        StoreError: what went wrong.
    """
    try:
        async with pool.acquire(timeout=timeout_seconds) as connection:
            return await connection.fetch(
                statement(name, distributed=connection.distributed), *arguments
            )
    except Exception as error:
        raise translated(error) from error


async def _open(url: str, **options: Any) -> Connection:
    """A connection that prepares statements only where they will be found again."""
    connection = await _connect(url, **options)
    try:
        if await _keeps_statements(connection):
            return connection
    except BaseException:
        connection.terminate()
        raise
    await connection.close()
    # The driver then sends each statement whole: one more round trip, in no session's memory.
    return await _connect(url, **options, statement_cache_size=0)


async def _connect(url: str, **options: Any) -> Connection:
    """A connection to the first host of the connection string that is as it asks for.

    Each host has its share of the time: the driver would spend all of it on the first one, and a
    machine that has lost its power says nothing at all.
    """
    hosts = hosts_of(url)
    if len(hosts) < 2 or "host" in options:
        return await asyncpg.connect(url, **options)
    failures: list[BaseException] = []
    for host, port in hosts:
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX / (len(hosts) + 1)):
                return await asyncpg.connect(url, host=host, port=port, **options)
        except TimeoutError:
            failures.append(TimeoutError(f"no answer from {host}"))
        except Exception as error:
            # Also what speaks against one host only, such as its pg_hba.conf.
            failures.append(error)
    # The most telling: that a standby is no primary is seldom the reason.
    raise max(
        failures,
        key=lambda failure: not isinstance(failure, asyncpg.TargetServerAttributeNotMatched),
    )


async def _keeps_statements(connection: Connection) -> bool:
    # A name of our own making: the driver's count from one in every process, and another process's
    # statement of that name could be run instead.
    name = f"saldo_{uuid4().hex}"
    try:
        prepared = await connection.prepare(statement("pooler"), name=name)
        found = await prepared.fetchrow(name)
    except asyncpg.InvalidSQLStatementNameError:
        return False  # run in another session than it was prepared in
    return found["backend_pid"] == connection.get_server_pid() or not found["name_passed"]


async def _configure(
    connection: Connection, application_name: str, statement_timeout_seconds: float
) -> None:
    """Sets what a session must have, and refuses one that can't be sure to keep it."""
    milliseconds = str(int(statement_timeout_seconds * 1000))
    row = await connection.fetchrow(statement("session"), milliseconds, application_name)
    connection.learn(distributed=row["distributed"])
    if row["backend_pid"] == connection.get_server_pid():
        return
    for wrong in await connection.fetch(statement("session_defaults")):
        name, found, needed = wrong
        raise ConnectionLostError(
            f"behind a pooler the role's own default must be {name} = '{needed}', not '{found}': "
            f"ALTER ROLE ... SET {name} = '{needed}', then let the pooler connect anew"
        )


async def _keep_session(connection: Connection) -> None:
    """Nothing: we only run single statements, which leave nothing behind."""
