"""Writes to the ledger: a connection that posts batches, and the creation of users."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from saldo.ledger.model import Decision, LedgerLimits, Outcome, TransactionRequest, compute_shard
from saldo.store.citus.placement import Node, connect_to_node
from saldo.store.connections.connection import Backend, Connection, acquire, connect
from saldo.store.errors import (
    ConnectionLostError,
    OutcomeUncertainError,
    RejectedError,
    StoreError,
    translate_error,
)
from saldo.store.statements import load_statement

_OUTCOMES = {int(outcome): outcome for outcome in Outcome}


class Poster:
    """The connection of a lane. It runs one call at a time."""

    def __init__(self, connection: Connection, limits: LedgerLimits) -> None:
        self._connection = connection
        self._limits = limits
        self.lock_wait_seconds = 0.0
        """Time in seconds for which the last batch waited for locks that batches of other processes held."""
        self.late_entries = 0
        """Number of entries that the checks of late withdrawals read in the last batch."""

    @property
    def backend(self) -> Backend | None:
        """The server process that runs the calls; None if it is unknown."""
        backend: Backend | None = self._connection.backend
        return backend

    @classmethod
    async def open(
        cls,
        url: str,
        limits: LedgerLimits,
        *,
        lane: int,
        statement_timeout_seconds: float,
        node: Node | None = None,
    ) -> Poster:
        """Open a connection.

        Args:
            node: The node of a distributed ledger to connect to; None uses the connection string as it is.

        Raises:
            StoreError: The connection failed.
        """
        open_ = connect if node is None else partial(connect_to_node, node)
        connection = await open_(
            url,
            application_name=f"saldo lane {lane}",
            statement_timeout_seconds=statement_timeout_seconds,
        )
        return cls(connection, limits)

    async def post(
        self, requests: Sequence[TransactionRequest], *, atomic: bool = False
    ) -> Sequence[Decision | None]:
        """Decide and record a batch in one statement. The statement is committed when the method returns.

        A batch of several shards of a distributed ledger takes one statement for each shard.

        Args:
            requests: The batch, in order of arrival.
            atomic: Record nothing unless every outcome is posted.

        Returns:
            A decision for each request. None means that the request is undecided, because the batch has read the
            maximum number of entries for late withdrawals. The request must be posted again, before later requests of
            the same user. The decisions of an atomic batch are never None.

        Raises:
            ConnectionLostError: The outcome of the batch is unknown, and the statement may still be running.
            OutcomeUncertainError: The call has ended, and all or some of the batch may be recorded.
            UuidRaceError, TemporarilyUnavailableError, RejectedError: Nothing of the batch is recorded.
        """
        if self._connection.distributed:
            return await self._post_by_shard(requests, atomic=atomic)
        return await self._post_shard([], requests, atomic=atomic)

    async def _post_by_shard(
        self, requests: Sequence[TransactionRequest], *, atomic: bool
    ) -> list[Decision | None]:
        """Post the requests with one call for each shard.

        The engine sends batches of several shards only as long as it does not know that the ledger is distributed.
        """
        shards: dict[int, list[int]] = {}
        for place, request in enumerate(requests):
            shards.setdefault(compute_shard(request.user_id), []).append(place)
        if len(shards) > 1 and atomic:
            raise RejectedError(
                "on a distributed ledger, the users of all transactions of an atomic array must be in the same "
                "shard; send the transactions of other shards in separate requests"
            )
        decisions: dict[int, Decision | None] = {}
        for shard, places in shards.items():
            part = [requests[place] for place in places]
            try:
                part_decisions = await self._post_shard([shard], part, atomic=atomic)
            except StoreError as error:
                # The error means that nothing of this part was recorded, but the parts of earlier shards were.
                if not decisions or isinstance(error, ConnectionLostError):
                    raise
                raise OutcomeUncertainError(str(error)) from error
            decisions.update(zip(places, part_decisions, strict=True))
        return [decisions[place] for place in range(len(requests))]

    async def _post_shard(
        self, shard: list[int], requests: Sequence[TransactionRequest], *, atomic: bool
    ) -> list[Decision | None]:
        limits = self._limits
        try:
            row = await self._connection.fetchrow(
                load_statement("transactions/call_post_function", distributed=bool(shard)),
                *shard,
                [request.uuid for request in requests],
                [request.user_id for request in requests],
                [request.amount for request in requests],
                [request.timestamp for request in requests],
                limits.balance_max,
                limits.future_tolerance,
                limits.late_check_entries_max,
                limits.late_batch_entries_max,
                atomic,
            )
        except Exception as error:
            raise translate_error(error) from error
        *columns, lock_wait, self.late_entries = row
        self.lock_wait_seconds = lock_wait.total_seconds()
        return [
            _build_decision(request, *fields)
            for request, *fields in zip(requests, *columns, strict=True)
        ]

    async def is_any_alive(self, backends: Sequence[Backend]) -> bool:
        """Return whether any of these server processes still exists. Such a process may still be running a statement.

        Raises:
            StoreError: The server can't be queried.
        """
        try:
            found: bool = await self._connection.fetchval(
                load_statement("connections/backends_alive"),
                [backend.pid for backend in backends],
                [backend.started_at for backend in backends],
            )
        except Exception as error:
            raise translate_error(error) from error
        return found

    def abort_connection(self) -> None:
        """Abort the connection immediately, without a cancel request or a termination message.

        If a commit waits for the standby, a cancel request would end this wait, and the server would report success.
        """
        with suppress(Exception):
            self._connection.terminate()

    async def close(self) -> None:
        """Close the connection with a termination message."""
        with suppress(Exception):
            await self._connection.close(timeout=1)


def _build_decision(
    request: TransactionRequest,
    outcome: int | None,
    replayed: bool,
    user_id: int | None,
    number: int | None,
    amount: int | None,
    balance: int | None,
    timestamp: datetime | None,
    recorded_at: datetime | None,
) -> Decision | None:
    """Return the complete decision; None if the request is undecided.

    The SQL function returns null for each value that equals that of the request.
    """
    if number is None or outcome is None:
        return None if outcome is None else Decision(_OUTCOMES[outcome])
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
    """The result of creating a user: the new user, or the existing user with the same name.

    Attributes:
        created: Whether the user is new.
    """

    created: bool
    id: int
    created_at: datetime


async def create_user(pool: Any, name: str, *, timeout_seconds: float) -> UserCreation:
    """Create a user with its opening entry.

    Raises:
        StoreError: The call failed; ConnectionLostError if it is unknown whether the user was created.
    """
    try:
        async with acquire(pool, timeout_seconds) as connection:
            row = await connection.fetchrow(
                load_statement("users/create", distributed=connection.distributed), name
            )
    except Exception as error:
        raise translate_error(error) from error
    return UserCreation(*row)
