"""A replica of the ledger, for questions whose answer takes many rows.

It answers as the primary would, to the byte, or not at all. The log only grows, and its positions have no gaps: the
primary says at which entry the answer ends, by one look into an index, and a replica that has this entry has all before
it, however far it lags. What it has beyond is no part of the answer: that the primary may not have, or may not have
shown to anybody yet. Whoever has just been answered 200 finds the transaction in the next list.

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
from saldo.store.url import shown

SECONDS_MAX: Final = 2.0
"""How long a replica has to answer, all in all; after that it is away, and the primary is asked."""

LOOK_SECONDS: Final = 2.0
LOOK_SECONDS_MAX: Final = 60.0
"""From one look at a replica that is away to the next: twice as long each time it is away again without an answer
in between, for each time somebody has waited for it."""

_log = logging.getLogger("saldo.store")


class Asked(NamedTuple):
    """What a question is about.

    Attributes:
        place: the statement that tells at which entry the answer ends; arguments: its own.
        ends: whether the question says itself that the answer ends there.
        of_log: whether its rows have a `seq`: those beyond are left out. If neither, the replica must have nothing
            beyond.
    """

    place: str
    arguments: tuple[Any, ...]
    ends: bool = False
    of_log: bool = False


class Place(NamedTuple):
    """Where the answer ends, by the primary; see sql/place_of_user.sql."""

    shard: int
    seq: int
    uuid: Any
    recorded_at: datetime
    known: bool
    """Whether nothing is recorded any more by the moment that is asked about."""


def of_user(user_id: int, *, below: int | None = None, known_at: datetime | None = None) -> Asked:
    """About a user's entries.

    Args:
        below: those with numbers below this one, which the question says, too; None: all.
        known_at: as known at this moment.
    """
    return Asked("place_of_user", (user_id, below, known_at), below is not None)


def in_log(shard: int, seq: int) -> Asked:
    """About a shard's entries up to a position."""
    return Asked("place_in_log", (shard, seq), of_log=True)


class Replica:
    """Its pool of connections, and whether it is there. Several hosts of the connection string: the first that is."""

    def __init__(self, pool: Any, where: str, *, timeout_seconds: float) -> None:
        """
        Args:
            where: it is, for the log.
            timeout_seconds: how long a statement may take on the primary.
        """
        self._pool = pool
        self._where = where
        self._timeout_seconds = timeout_seconds
        self._there = False
        self._look_seconds = LOOK_SECONDS
        self._late: set[asyncio.Task[Any]] = set()
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
        return cls(pool, shown(url), timeout_seconds=timeout_seconds)

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
            # Nothing there is quickly said by the primary itself.
            if places and (place := Place(*places[0])).known:
                rows = await self._in_time(self._fetch(place, asked, name, *arguments))
        REPLICA_READS.labels("primary" if rows is None else "replica").inc()
        return rows

    async def _in_time(self, answer: Any) -> Sequence[Any] | None:
        """What it answers in time; None: nothing, or it must not be believed."""
        asking = asyncio.create_task(answer)
        self._late.add(asking)
        asking.add_done_callback(self._late.discard)
        try:
            # Not a time-out of the driver's: that waits for a server that says nothing to take the cancellation.
            done, _ = await asyncio.wait([asking], timeout=SECONDS_MAX)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if not done:
            asking.cancel()
            self._away(f"no answer in {SECONDS_MAX:.0f} s")
            return None
        try:
            rows: Sequence[Any] | None = asking.result()
        except Exception as error:
            failure = translated(error)
            # Else it has only refused this one: it had to remove rows that were being read, say.
            if isinstance(failure, ConnectionLostError):
                self._away(str(failure))
            return None
        if rows is not None:
            self._look_seconds = LOOK_SECONDS
        return rows

    async def _fetch(
        self, place: Place, asked: Asked, name: str, *arguments: Any
    ) -> Sequence[Any] | None:
        # On one connection: what it held it goes on holding, and the next may lead to another replica.
        async with self._pool.acquire() as connection:
            distributed = connection.distributed
            try:
                if not await connection.fetchval(
                    statement("replica_holds", distributed=distributed), *place[:4]
                ):
                    return None
                rows: Sequence[Any] = await connection.fetch(
                    statement(name, distributed=distributed), *arguments
                )
                if asked.ends:
                    return rows
                if asked.of_log:
                    return [row for row in rows if row["seq"] <= place.seq]
                # What is not there now was not there when the rows were read.
                end = await connection.fetchrow(
                    statement(asked.place, distributed=distributed), *asked.arguments
                )
                return rows if end is not None and tuple(end[:4]) == place[:4] else None
            except asyncio.CancelledError:
                # It is too late: nobody waits until it has taken the cancellation.
                connection.terminate()
                raise

    def _away(self, reason: str) -> None:
        if self._there:
            self._there = False
            self._look_seconds = min(self._look_seconds * 2, LOOK_SECONDS_MAX)
            _log.warning("the replica is away, the primary is asked: %s: %s", self._where, reason)

    async def _look(self) -> None:
        """Looks for it while it is away: no question waits for a machine that may say nothing."""
        failed = False
        while True:
            if not self._there:
                try:
                    await fetch(self._pool, "replica_answers", timeout_seconds=SECONDS_MAX)
                except StoreError as error:
                    if not failed:
                        _log.warning("the replica can't be asked: %s: %s", self._where, error)
                    failed = True
                else:
                    self._there, failed = True, False
                    _log.info("the replica is asked for what takes many rows")
            await asyncio.sleep(LOOK_SECONDS if self._there else self._look_seconds)
