"""A replica of the ledger, for questions whose answer takes many rows.

It answers as the primary would, to the byte, or not at all. The log only grows, and its positions have no gaps: the
primary says at which entry the answer ends, by one look into an index, and a replica that has this entry has all before
it, however far it lags. Whoever has just been answered 200 finds the transaction in the next list.

A replica spares the primary work. It doesn't stand in for it: while the primary is away nobody could tell a replica
that lags from one that has gone ways of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from saldo.observability.metrics import REPLICA_READS
from saldo.store.connection import fetch, open_pool
from saldo.store.errors import ConnectionLostError, StoreError, translated
from saldo.store.statements import statement

HOLDS_SECONDS_MAX: Final = 1.0
"""How long a replica has to say that it holds an entry; after that it is away."""

LOOK_SECONDS: Final = 2.0
"""From one look at a replica that is away to the next."""

_log = logging.getLogger("saldo.store")


class Asked(NamedTuple):
    """What a question is about.

    Attributes:
        place: the statement that tells at which entry the answer ends; arguments: its own.
        known_at: nothing may be recorded any more by then; None: that doesn't matter.
    """

    place: str
    arguments: tuple[Any, ...]
    known_at: datetime | None = None


def of_user(user_id: int, *, below: int | None = None, known_at: datetime | None = None) -> Asked:
    """About a user's entries. below: those with numbers below this one; None: all."""
    return Asked("place_of_user", (user_id, below), known_at)


def in_log(shard: int, seq: int) -> Asked:
    """About a shard's entries up to a position."""
    return Asked("place_in_log", (shard, seq))


class Replica:
    """Its pool of connections, and whether it is there. Several hosts of the connection string: the first that is."""

    def __init__(self, pool: Any, *, timeout_seconds: float) -> None:
        """
        Args:
            timeout_seconds: how long a statement may take on the primary.
        """
        self._pool = pool
        self._timeout_seconds = timeout_seconds
        self._there = False
        for who in ("primary", "replica"):  # from 0 on, so that a first one shows as growth
            REPLICA_READS.labels(who)
        self._looking = asyncio.create_task(self._look(), name="replica")

    @classmethod
    async def open(cls, url: str, *, connections: int, timeout_seconds: float) -> Self:
        """With a pool of its own; connections are made when they are needed."""
        pool = await open_pool(
            url,
            connections=connections,
            statement_timeout_seconds=timeout_seconds,
            application_name="saldo replica",
        )
        return cls(pool, timeout_seconds=timeout_seconds)

    @property
    def pool(self) -> Any:
        """Its connections."""
        return self._pool

    async def close(self) -> None:
        """Ends what is under way, and the connections."""
        self._looking.cancel()
        self._pool.terminate()

    async def fetch(
        self, primary: Any, asked: Asked, name: str, *arguments: Any
    ) -> Sequence[Any] | None:
        """The rows of one of our statements; None: the primary must be asked, whatever the reason.

        Args:
            primary: the pool that says how far the answer goes.

        Raises:
            StoreError: the primary can't be asked.
        """
        rows = None
        if self._there:
            seconds = self._timeout_seconds
            places = await fetch(primary, asked.place, *asked.arguments, timeout_seconds=seconds)
            if places:  # nothing there is quickly said by the primary itself
                rows = await self._fetch(places[0], asked.known_at, name, *arguments)
        REPLICA_READS.labels("primary" if rows is None else "replica").inc()
        return rows

    async def _fetch(
        self, place: Any, known_at: datetime | None, name: str, *arguments: Any
    ) -> Sequence[Any] | None:
        try:
            # On one connection: what it held it goes on holding, and the next may lead to another replica.
            async with self._pool.acquire(timeout=HOLDS_SECONDS_MAX) as connection:
                distributed = connection.distributed
                row = await connection.fetchrow(
                    statement("replica_holds", distributed=distributed),
                    *(*place, known_at),
                    timeout=HOLDS_SECONDS_MAX,
                )
                if not (row["holds"] and row["knows"]):
                    return None
                rows: Sequence[Any] = await connection.fetch(
                    statement(name, distributed=distributed), *arguments
                )
                return rows
        except Exception as error:
            failure = translated(error)
        # Else it has only refused this one: it had to remove rows that were being read, say.
        if isinstance(failure, ConnectionLostError) and self._there:
            self._there = False
            _log.warning("the replica is away, the primary is asked: %s", failure)
        return None

    async def _look(self) -> None:
        """Looks for it while it is away: no question waits for a machine that may say nothing."""
        failed = False
        while True:
            if not self._there:
                try:
                    await fetch(self._pool, "log_identity", timeout_seconds=self._timeout_seconds)
                except StoreError as error:
                    if not failed:
                        _log.warning("the replica can't be asked: %s", error)
                    failed = True
                else:
                    self._there, failed = True, False
                    _log.info("the replica is asked for what takes many rows")
            await asyncio.sleep(LOOK_SECONDS)
