"""Connections to PostgreSQL, directly or through a pooler.

A pooler that shares server connections between transactions may run each statement in another session. Saldo depends on
session settings and on prepared statements. Settings are therefore set in the statement itself
(sql/transactions/call_post_function.sql) and in each new session (sql/connections/configure_session.sql). Behind a
pooler they must also be defaults of the role (sql/connections/wrong_session_defaults.sql). Prepared statements are not
used if the pooler does not track them (docs/howto/postgresql.md).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import uuid4

import asyncpg

from saldo.store.connections.parameters import (
    DriverOptions,
    build_driver_options,
    set_socket_options,
)
from saldo.store.connections.server_check import ServerState, get_server_state
from saldo.store.connections.url import format_url, get_first_line, list_hosts
from saldo.store.errors import (
    ConfigurationError,
    ConnectionLostError,
    NotConnectedError,
    translate_error,
)
from saldo.store.statements import load_statement

CONNECT_SECONDS_MAX = 5.0
"""Timeout of one attempt to connect."""

Connection: TypeAlias = Any
"""A `DatabaseConnection`. The driver has no type annotations."""


ARRAY_TYPES: Final = {
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
"""Array types by OID, with the name and the OID of the element. PostgreSQL guarantees these numbers."""


_reading_only: ContextVar[bool] = ContextVar("reading_only", default=False)

_SESSION_GONE_STATES: Final = frozenset({"25006", "26000", "57P01", "57P02", "57P03", "57P05"})
"""SQLSTATEs after which a connection is unusable: the server has become read-only or is stopping, or a pooler has
lost the prepared statements."""


@contextmanager
def read_only_pools() -> Iterator[None]:
    """Make all pools that are opened inside this context read-only. Commands that must not write use it."""
    token = _reading_only.set(True)
    try:
        yield
    finally:
        _reading_only.reset(token)


class Backend(NamedTuple):
    """A server process. Its id may be reused after the process has ended, so that only the id and the start time
    together identify it."""

    pid: int
    started_at: datetime


class DatabaseConnection(asyncpg.Connection):  # type: ignore[misc]
    """The driver's connection, with properties of the database to which it leads."""

    distributed = False
    """True for a distributed ledger; see `saldo.store.statements`."""

    pooled = False
    """True if a pooler may use another server connection for each transaction."""
    read_only = False
    """True for a read-only connection."""
    any_server = False
    """True if the server may be a standby."""
    backend: Backend | None = None
    """The server process of this connection. None if it is unknown, because the connection leads to a pooler or a
    coordinator."""

    def set_properties(
        self,
        *,
        distributed: bool,
        pooled: bool,
        read_only: bool,
        any_server: bool,
        backend: Backend | None,
    ) -> None:
        """Store the properties of the database. A method is needed, because the proxy of a pool forwards only method
        calls."""
        self.distributed = distributed
        self.pooled = pooled
        self.read_only = read_only
        self.any_server = any_server
        self.backend = backend

    def _cancel_current_command(self, *waiters: Any) -> None:
        """Abort the connection instead of sending a cancel request. The driver calls this method at a timeout, for a
        cancelled task, and when it closes the connection.

        If a commit waits for the synchronous standby, a cancel request ends this wait, and the server then reports
        success although no standby has the transaction. An aborted connection does not end the wait. A backend that
        runs a statement notices the abort within `client_connection_check_interval`
        (sql/connections/configure_session.sql).
        """
        # The abort happens in the next iteration of the event loop, because the driver is still updating its own state.
        # The pool terminates the connection when the connection is released.
        self._loop.call_soon(self._protocol.abort)

    async def _introspect_types(
        self,
        typeoids: Iterable[int],
        timeout: float | None,  # noqa: ASYNC109 - the driver's
    ) -> tuple[Any, Any]:
        """Return the types of arrays without a query.

        Without this method, the driver queries the catalog for the types in each session, once per statement with
        arrays. The more tables there are, the longer the query takes. On Citus, where each table has 64 shards, it
        takes most of a second before a batch can be sent.
        """
        asked = set(typeoids)
        if not asked <= ARRAY_TYPES.keys():
            return await super()._introspect_types(asked, timeout)  # type: ignore[no-any-return]
        # The driver checks this name to know whether its query has replaced the unnamed statement that it is preparing.
        # Here no query was sent.
        return [
            _describe_array_type(oid, *ARRAY_TYPES[oid]) for oid in sorted(asked)
        ], SimpleNamespace(name="none")


def _describe_array_type(oid: int, element: str, element_oid: int) -> dict[str, Any]:
    """Build a row in the format of the driver's own query."""
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
    """Open a connection for posting.

    Args:
        node: The host and port that replace those of the connection string.

    Raises:
        ConnectionLostError: The connection failed, or the server must not be used
            (`saldo.store.connections.server_check`).
    """
    server_state = get_server_state(url, node)
    try:
        connection = await _connect_and_configure(
            url, server_state, application_name, statement_timeout_seconds, node
        )
    except ConnectionLostError:
        server_state.is_failing = True
        raise
    except asyncpg.TooManyConnectionsError as error:  # existing connections remain in use
        raise ConnectionLostError(get_first_line(error)) from error
    except Exception as error:
        # Every error means that no connection was opened. It was not caused by a request, and no request was sent.
        server_state.is_failing = True
        raise ConnectionLostError(get_first_line(error)) from error
    server_state.is_failing = False
    return connection


async def _connect_and_configure(
    url: str,
    server_state: ServerState,
    application_name: str,
    statement_timeout_seconds: float,
    node: tuple[str, int] | None,
) -> Connection:
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            other = {} if node is None else {"host": node[0], "port": node[1]}
            connection = await _open_connection(url, connection_class=DatabaseConnection, **other)
            try:
                await _configure_session(
                    connection, server_state, application_name, statement_timeout_seconds
                )
            except BaseException:
                connection.terminate()
                raise
            return connection
    except TimeoutError as error:
        raise ConnectionLostError(f"no response within {CONNECT_SECONDS_MAX:.0f} s") from error


async def check_connection(url: str) -> None:
    """Test once, before the service starts, whether it can connect.

    Raises:
        ConfigurationError: The message is one line for the operator.
    """
    try:
        connection = await connect(url, application_name="saldo check", statement_timeout_seconds=5)
    except ConnectionLostError as error:
        raise ConfigurationError(f"database {format_url(url)}: {error}") from error
    await connection.close()


async def check_reachable(url: str) -> None:
    """If the last attempt to connect failed, try to open a new connection. Open connections are no proof that the
    server is reachable, because they may lead to another server.

    Raises:
        ConnectionLostError: A transaction could not be posted now.
    """
    if get_server_state(url).is_failing:
        connection = await connect(url, application_name="saldo check", statement_timeout_seconds=5)
        await connection.close()


async def is_distributed(url: str) -> bool:
    """Return whether the ledger is distributed.

    If the database is unavailable, the result is False. A lane (`Poster`) then detects a distributed ledger later.
    """
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
    any_server: bool = False,
) -> Any:
    """Open a pool of connections for single statements. Connections are opened on demand.

    Args:
        any_server: Whether connections may lead to a standby.

    Raises:
        ConfigurationError: The connection string can't be used.
    """

    server_state = None if any_server else get_server_state(url)
    read_only = _reading_only.get()

    async def configure_new_connection(connection: Connection) -> None:
        await _configure_session(
            connection,
            server_state,
            application_name,
            statement_timeout_seconds,
            read_only=read_only,
        )

    try:
        return await asyncpg.create_pool(
            url,
            connect=_open_connection,
            connection_class=DatabaseConnection,
            min_size=0,
            max_size=connections,
            # The pool's default reset would undo the session settings after each use.
            reset=_keep_session,
            setup=None,
            init=configure_new_connection,
            timeout=CONNECT_SECONDS_MAX,
            # The server cancels a statement at its own timeout. This timeout applies if the server does not respond, or
            # if a commit waits for the standby. The connection is then aborted
            # (`DatabaseConnection._cancel_current_command`).
            command_timeout=statement_timeout_seconds + 1,
        )
    except (ValueError, asyncpg.InterfaceError) as error:
        raise ConfigurationError(
            f"the connection string can't be used: {type(error).__name__}"
        ) from error


def count_waiters(pool: Any) -> int:
    """Return the number of tasks that wait for a connection of the pool."""
    # The driver has no method for this. Reading its queue costs nothing when a connection is acquired.
    return sum(not each.done() for each in pool._queue._getters)


async def fetch(pool: Any, name: str, *arguments: Any, timeout_seconds: float | None = None) -> Any:
    """Return the rows of a statement (sql/<name>.sql).

    Args:
        timeout_seconds: The time to wait for a connection of the pool; None waits until one is free.

    Raises:
        NotConnectedError: No connection could be opened, so the statement was not sent.
        StoreError: The statement failed.
    """
    is_connected = False
    try:
        async with acquire(pool, timeout_seconds) as connection:
            is_connected = True
            return await connection.fetch(
                load_statement(name, distributed=connection.distributed), *arguments
            )
    except Exception as error:
        translated = translate_error(error)
        if isinstance(translated, ConnectionLostError) and not is_connected:
            raise NotConnectedError(str(translated)) from error
        raise translated from error


@asynccontextmanager
async def acquire(pool: Any, timeout_seconds: float | None = None) -> AsyncIterator[Connection]:
    """Acquire a connection of a pool for one statement. Behind a pooler, ensure that the server is not a standby.

    Behind a pooler each transaction may use another server connection. The check must therefore be made in the
    transaction of the statement.

    Args:
        timeout_seconds: The time to wait for a connection of the pool; None waits until one is free.
    """
    async with pool.acquire(timeout=timeout_seconds) as connection:
        try:
            # On Citus the functions must not be called inside a transaction (docs/decisions/0029-citus.md).
            if not connection.pooled or connection.any_server or connection.distributed:
                yield connection
            else:
                async with _open_transaction(connection):
                    yield connection
        except asyncpg.PostgresError as error:
            if error.sqlstate in _SESSION_GONE_STATES:
                connection.terminate()
            raise


@asynccontextmanager
async def _open_transaction(connection: Connection) -> AsyncIterator[None]:
    try:
        name = (
            "connections/begin_read_only"
            if connection.read_only
            else "connections/begin_on_primary"
        )
        await connection.execute(load_statement(name))
    except asyncpg.FeatureNotSupportedError as error:
        raise ConnectionLostError("the pooler connects to a standby, not to the primary") from error
    try:
        yield
    except Exception:
        await connection.execute("ROLLBACK")
        raise
    except BaseException:
        connection.terminate()
        raise
    await connection.execute("COMMIT")


async def _open_connection(url: str, **options: Any) -> Connection:
    """Open a connection. Statements are prepared only if they remain available in later transactions."""
    connection = await _connect_to_any_host(url, **options)
    try:
        if await _supports_prepared_statements(connection):
            return connection
    except BaseException:
        connection.terminate()
        raise
    await connection.close()
    # Without the cache, the driver sends each statement in full. This costs one more round trip and stores nothing in a
    # session.
    return await _connect_to_any_host(url, **options, statement_cache_size=0)


async def _connect_to_any_host(url: str, **options: Any) -> Connection:
    """Connect to the first host of the connection string that is available and fulfils the string's conditions.

    Each host gets a share of the timeout. The driver would spend the whole timeout on the first host, and a machine
    without power does not respond.
    """
    driver = build_driver_options(url)
    hosts = list_hosts(url)
    if "host" in options or not hosts:
        return await _connect_to_host(driver, **options)
    if len(hosts) == 1:
        return await _connect_to_host(driver, host=hosts[0][0], port=hosts[0][1], **options)
    if driver.shuffles_hosts:
        random.shuffle(hosts)
    failures: list[BaseException] = []
    for host, port in hosts:
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX / (len(hosts) + 1)):
                return await _connect_to_host(driver, host=host, port=port, **options)
        except TimeoutError:
            failures.append(TimeoutError(f"no answer from {host}"))
        except Exception as error:
            # Some of these errors affect only one host, such as a wrong pg_hba.conf.
            failures.append(error)
    # The most informative error is raised. "Not a primary" is raised only if there is no other error.
    raise max(
        failures,
        key=lambda failure: not isinstance(failure, asyncpg.TargetServerAttributeNotMatched),
    )


async def _connect_to_host(driver: DriverOptions, **options: Any) -> Connection:
    async with asyncio.timeout(driver.connect_seconds):
        connection = await asyncpg.connect(driver.url, **options)
    set_socket_options(connection, driver.socket_options)
    return connection


async def _supports_prepared_statements(connection: Connection) -> bool:
    # The name must be unique. The driver's own names count from one in every process, so that a statement of another
    # process could be run instead.
    name = f"saldo_{uuid4().hex}"
    try:
        prepared_statement = await connection.prepare(
            load_statement("connections/detect_pooler"), name=name
        )
        row = await prepared_statement.fetchrow(name)
    except asyncpg.InvalidSQLStatementNameError:
        return False  # the statement was prepared in one session and run in another
    return row["backend_pid"] == connection.get_server_pid() or not row["name_passed"]


async def _configure_session(
    connection: Connection,
    server_state: ServerState | None,
    application_name: str,
    statement_timeout_seconds: float,
    *,
    read_only: bool = False,
) -> None:
    """Set the required session settings, and reject a session that may lose them.

    Args:
        server_state: The state of the server at the address, which rejects servers that must not be used; None accepts
            every server.
    """
    milliseconds = str(int(statement_timeout_seconds * 1000))
    row = await connection.fetchrow(
        load_statement("connections/configure_session"), milliseconds, application_name
    )
    pooled = row["backend_pid"] != connection.get_server_pid()
    backend = Backend(row["backend_pid"], row["backend_started_at"])
    # On a coordinator, the backend's process id does not identify the backends that do its work on other nodes.
    is_backend_known = not pooled and not row["distributed"] and backend.started_at is not None
    connection.set_properties(
        distributed=row["distributed"],
        pooled=pooled,
        read_only=read_only,
        any_server=server_state is None,
        backend=backend if is_backend_known else None,
    )
    if server_state is not None:
        server_state.admit_connection(connection, row["system"], row["timeline"])
    if not pooled:
        if read_only:  # never behind a pooler, where the session may next be used by the service
            await connection.execute(load_statement("connections/make_session_read_only"))
        return
    for wrong_default in await connection.fetch(
        load_statement("connections/wrong_session_defaults")
    ):
        name, actual, required = wrong_default
        raise ConnectionLostError(
            f"behind a pooler, the role's default must be {name} = '{required}', not '{actual}': "
            f"run ALTER ROLE ... SET {name} = '{required}', then make the pooler reconnect"
        )


async def _keep_session(connection: Connection) -> None:
    """Do nothing: single statements leave no state in the session."""
