"""The writing side: one connection that calls `post`, and the creation of users."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from saldo.ledger.model import Decision, Limits, Outcome, TransactionRequest, shard_of
from saldo.store.connection import Connection, connect
from saldo.store.errors import RejectedError, translated
from saldo.store.places import Node, connect_to
from saldo.store.statements import statement

_OUTCOMES = {int(outcome): outcome for outcome in Outcome}


class Poster:
    """One connection, one call at a time: that of a lane."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self.lock_wait_seconds = 0.0
        """How long the last batch waited for the batches of other processes."""

    @classmethod
    async def open(
        cls,
        url: str,
        limits: Limits,
        *,
        lane: int,
        statement_timeout_seconds: float,
        node: Node | None = None,
    ) -> Poster:
        """Connects: to the database as it is named, or to a node of it.

        Raises:
            StoreError: no connection could be made.
        """
        open_ = connect if node is None else partial(connect_to, node)
        connection = await open_(
            url,
            application_name=f"saldo lane {lane}",
            statement_timeout_seconds=statement_timeout_seconds,
        )
        return cls(connection, limits)

    async def post(
        self, requests: Sequence[TransactionRequest], *, atomic: bool = False
    ) -> list[Decision]:
        """Decides and records a batch: one statement, committed when this returns.

        Args:
            requests: the batch, in order of arrival.
            atomic: unless every outcome is posted, record nothing.

        Raises:
            ConnectionLostError: what became of the batch is unknown; sending it again tells.
            ClashError, BusyError, RejectedError: nothing of the batch is recorded.
        """
        if self._connection.distributed:
            return await self._post_by_shard(requests, atomic=atomic)
        return await self._post([], requests, atomic=atomic)

    async def _post_by_shard(
        self, requests: Sequence[TransactionRequest], *, atomic: bool
    ) -> list[Decision]:
        """One call if they are of one shard, as the engine's batches are once it knows; else one call a shard."""
        shards: dict[int, list[int]] = {}
        for place, request in enumerate(requests):
            shards.setdefault(shard_of(request.user_id), []).append(place)
        if len(shards) > 1 and atomic:
            raise RejectedError("all or nothing is possible within a shard of a distributed ledger")
        decisions: dict[int, Decision] = {}
        for shard, places in shards.items():
            part = [requests[place] for place in places]
            found = await self._post([shard], part, atomic=atomic)
            decisions.update(zip(places, found, strict=True))
        return [decisions[place] for place in range(len(requests))]

    async def _post(
        self, shard: list[int], requests: Sequence[TransactionRequest], *, atomic: bool
    ) -> list[Decision]:
        limits = self._limits
        try:
            row = await self._connection.fetchrow(
                statement("post", distributed=bool(shard)),
                *shard,
                [request.uuid for request in requests],
                [request.user_id for request in requests],
                [request.amount for request in requests],
                [request.timestamp for request in requests],
                limits.balance_max,
                limits.future_tolerance,
                limits.late_check_entries_max,
                atomic,
            )
        except Exception as error:
            raise translated(error) from error
        *columns, lock_wait = row
        self.lock_wait_seconds = lock_wait.total_seconds()
        return [
            _decision(request, *fields) for request, *fields in zip(requests, *columns, strict=True)
        ]

    def abandon(self) -> None:
        """Drops the connection at once, without a word: no cancel request, no farewell.

        A cancel would end a commit's wait for the standby, and the server would then say "done".
        """
        with suppress(Exception):
            self._connection.terminate()

    async def close(self) -> None:
        """Says farewell."""
        with suppress(Exception):
            await self._connection.close(timeout=1)


def _decision(
    request: TransactionRequest,
    outcome: int,
    replayed: bool,
    user_id: int | None,
    number: int | None,
    amount: int | None,
    balance: int | None,
    timestamp: datetime | None,
    recorded_at: datetime | None,
) -> Decision:
    """The decision in full: the function leaves out what is as requested."""
    if number is None:
        return Decision(_OUTCOMES[outcome])
    return Decision(
        _OUTCOMES[outcome],
        replayed,
        request.user_id if user_id is None else user_id,
        number,
        request.amount if amount is None else amount,
        balance,
        request.timestamp if timestamp is None else timestamp,
        recorded_at,
    )


@dataclass(frozen=True, slots=True)
class UserCreation:
    """What came of the wish to create a user: a new one, or the one who has the name already."""

    created: bool
    id: int
    created_at: datetime


async def create_user(pool: Any, name: str, *, timeout_seconds: float) -> UserCreation:
    """Creates a user with its opening entry.

    Raises:
        StoreError: ConnectionLostError when it is unknown whether the user was created.
    """
    try:
        async with pool.acquire(timeout=timeout_seconds) as connection:
            row = await connection.fetchrow(
                statement("create_user", distributed=connection.distributed), name
            )
    except Exception as error:
        raise translated(error) from error
    return UserCreation(*row)
