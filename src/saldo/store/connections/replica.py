"""Reads of many rows from a read replica.

A result of the replica is used only if it is identical to the primary's. The log only grows, and its positions have no
gaps. The primary determines the last entry of the result with one index lookup, and a replica that has this entry has
all entries before it, however far the replica lags. Newer entries of the replica are not part of the result, because
the primary may not have them, or may not have made them visible yet. A client that got the response 200 to a
transaction therefore finds this transaction in the next list.

A replica takes load off the primary, but can't replace it. Without the primary, a replica that lags can't be
distinguished from one that was promoted and has diverged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from saldo.observability.metrics import REPLICA_READS
from saldo.store.connections.connection import fetch, open_pool
from saldo.store.connections.url import format_url
from saldo.store.errors import ConnectionLostError, StoreError, translate_error
from saldo.store.statements import load_statement

READ_SECONDS_MAX: Final = 2.0
"""Timeout of all statements of one read together. After the timeout, the replica counts as unavailable, and the primary
is used."""

PROBE_SECONDS_MIN: Final = 2.0
PROBE_SECONDS_MAX: Final = 60.0
"""Minimum and maximum interval between two probes of an unavailable replica.

The interval doubles each time the replica becomes unavailable, because a request had to wait then. The first successful
read resets the interval.
"""

_log = logging.getLogger("saldo.store")


class ReplicaQuery(NamedTuple):
    """A description of a query, by which the last entry of the query's result is determined.

    If neither `is_bounded` nor `has_seq` is true, the result is used only if the replica has no newer matching entry.

    Attributes:
        last_entry_statement: The name of the statement that returns the last entry of the result.
        arguments: The arguments of that statement.
        is_bounded: Whether the query itself has an upper bound, so that its result can't contain newer entries.
        has_seq: Whether the rows have a `seq`, so that rows of newer entries can be removed.
    """

    last_entry_statement: str
    arguments: tuple[Any, ...]
    is_bounded: bool = False
    has_seq: bool = False


class PrimaryPosition(NamedTuple):
    """The last entry of a result, as read from the primary; see sql/replicas/last_entry_of_user.sql."""

    shard: int
    seq: int
    uuid: Any
    recorded_at: datetime
    is_final: bool
    """True if no more entries can be recorded up to the query's `known_at`."""


def describe_user_query(
    user_id: int, *, below: int | None = None, known_at: datetime | None = None
) -> ReplicaQuery:
    """Describe a query for a user's entries.

    Args:
        below: Upper bound (exclusive) of the entry numbers. The query itself must apply it, too. None for no bound.
        known_at: Upper bound of the times at which the entries were recorded; None for no bound.
    """
    return ReplicaQuery(
        "replicas/last_entry_of_user", (user_id, below, known_at), below is not None
    )


def describe_log_query(shard: int, seq: int) -> ReplicaQuery:
    """Describe a query for a shard's entries up to a `seq`."""
    return ReplicaQuery("replicas/last_entry_of_shard", (shard, seq), has_seq=True)


class Replica:
    """A replica's pool of connections, and its availability.

    If the connection string has several hosts, the first available one is used.
    """

    def __init__(self, pool: Any, address: str, *, timeout_seconds: float) -> None:
        """
        Args:
            address: The replica's address, for log messages.
            timeout_seconds: The time to wait for a connection of the primary's pool.
        """
        self._pool = pool
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._is_available = False
        self._probe_interval_seconds = PROBE_SECONDS_MIN
        self._read_tasks: set[asyncio.Task[Any]] = set()
        for source in ("primary", "replica"):  # begin at 0: the first read is then an increase
            REPLICA_READS.labels(source)
        self._probe_task = asyncio.create_task(self._run_probes(), name="replica probe")

    @classmethod
    async def open(cls, url: str, *, connections: int, timeout_seconds: float) -> Self:
        """Create a replica with its own pool. Connections are opened on demand."""
        pool = await open_pool(
            url,
            connections=connections,
            statement_timeout_seconds=timeout_seconds,
            application_name="saldo replica",
            any_server=True,
        )
        return cls(pool, format_url(url), timeout_seconds=timeout_seconds)

    @property
    def pool(self) -> Any:
        """The pool of connections."""
        return self._pool

    async def close(self) -> None:
        """Stop the probes and terminate the connections, with the statements that run on them."""
        self._probe_task.cancel()
        self._pool.terminate()

    async def fetch(
        self, primary: Any, query: ReplicaQuery, name: str, *arguments: Any
    ) -> Sequence[Any] | None:
        """Return the rows of a statement from the replica; None if the caller must use the primary instead.

        Args:
            primary: The primary's pool, from which the end of the result is read.
            query: The description of the query.
            name: The statement.

        Raises:
            StoreError: The primary can't be queried.
        """
        rows = None
        if self._is_available:
            seconds = self._timeout_seconds
            rows_of_last_entry = await fetch(
                primary, query.last_entry_statement, *query.arguments, timeout_seconds=seconds
            )
            # If no entry matches, the primary's own query is cheap.
            if (
                rows_of_last_entry
                and (last_entry := PrimaryPosition(*rows_of_last_entry[0])).is_final
            ):
                rows = await self._await_with_timeout(
                    self._fetch_from_replica(last_entry, query, name, *arguments)
                )
        REPLICA_READS.labels("primary" if rows is None else "replica").inc()
        return rows

    async def _await_with_timeout(self, rows_awaitable: Any) -> Sequence[Any] | None:
        """Return the replica's rows. Return None after an error or a timeout, or if the rows can't be used."""
        task = asyncio.create_task(rows_awaitable)
        self._read_tasks.add(task)
        task.add_done_callback(self._read_tasks.discard)
        try:
            # The driver's timeout is not used, because it waits for the server to acknowledge the cancellation.
            done, _ = await asyncio.wait([task], timeout=READ_SECONDS_MAX)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            task.cancel()
            self._mark_unavailable(f"no answer in {READ_SECONDS_MAX:.0f} s")
            return None
        try:
            rows: Sequence[Any] | None = task.result()
        except Exception as error:
            failure = translate_error(error)
            # Other errors, such as a conflict with recovery, affect only this statement.
            if isinstance(failure, ConnectionLostError):
                self._mark_unavailable(str(failure))
            return None
        if rows is not None:
            self._probe_interval_seconds = PROBE_SECONDS_MIN
        return rows

    async def _fetch_from_replica(
        self, last_entry: PrimaryPosition, query: ReplicaQuery, name: str, *arguments: Any
    ) -> Sequence[Any] | None:
        # All statements use one connection: another one may lead to a different replica, which lacks the entry.
        async with self._pool.acquire() as connection:
            distributed = connection.distributed
            try:
                if not await connection.fetchval(
                    load_statement("replicas/has_entry", distributed=distributed), *last_entry[:4]
                ):
                    return None
                rows: Sequence[Any] = await connection.fetch(
                    load_statement(name, distributed=distributed), *arguments
                )
                if query.is_bounded:
                    return rows
                if query.has_seq:
                    return [row for row in rows if row["seq"] <= last_entry.seq]
                # If the replica has no newer entry now, the rows contain none either.
                end = await connection.fetchrow(
                    load_statement(query.last_entry_statement, distributed=distributed),
                    *query.arguments,
                )
                return rows if end is not None and tuple(end[:4]) == last_entry[:4] else None
            except asyncio.CancelledError:
                # After a timeout, the connection is closed immediately, without waiting for the server to acknowledge
                # the cancellation.
                connection.terminate()
                raise

    def _mark_unavailable(self, reason: str) -> None:
        if self._is_available:
            self._is_available = False
            self._probe_interval_seconds = min(self._probe_interval_seconds * 2, PROBE_SECONDS_MAX)
            _log.warning(
                "the replica is unavailable, so reads use the primary: %s: %s",
                self._address,
                reason,
            )

    async def _run_probes(self) -> None:
        """Probe the replica while it is unavailable. Requests don't use the replica in that time, and so need not wait
        for a server that does not respond."""
        failed = False
        while True:
            if not self._is_available:
                try:
                    await fetch(
                        self._pool, "replicas/check_readable", timeout_seconds=READ_SECONDS_MAX
                    )
                except StoreError as error:
                    if not failed:
                        _log.warning("can't query the replica: %s: %s", self._address, error)
                    failed = True
                else:
                    self._is_available, failed = True, False
                    _log.info("the replica is available, so large reads use it")
            await asyncio.sleep(
                PROBE_SECONDS_MIN if self._is_available else self._probe_interval_seconds
            )
