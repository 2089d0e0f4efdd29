"""The reading side: users, balances, transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from saldo.ledger.model import SEQ_MAX, Kind, Outcome
from saldo.ledger.time import FUTURE_TOLERANCE_MAX, MICROSECOND
from saldo.store.connection import fetch, open_pool
from saldo.store.grouped import GroupedReads
from saldo.store.poster import UserCreation, create_user
from saldo.store.replica import Asked, Replica, in_log, of_user

KEYS_MAX = 1000
"""Keys of one grouped read: it takes some milliseconds then."""

LAST_CHARACTER = "\U0010ffff"
"""No name that begins in some way has a byte beyond this after it."""


@dataclass(frozen=True, slots=True)
class User:
    """A user with the balance of now, minor units."""

    id: int
    name: str
    created_at: datetime
    balance: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """A client's transaction as it is recorded.

    Attributes:
        amount: signed; as `balance`, minor units.
        late: posted with a timestamp before that of a transaction posted earlier.
    """

    uuid: UUID
    user_id: int
    number: int
    amount: int
    balance: int
    timestamp: datetime
    recorded_at: datetime
    outcome: Outcome
    late: bool


@dataclass(frozen=True, slots=True)
class TransactionPage:
    """A page, newest first. `next_before`: the number to go on below; None: that was all."""

    transactions: list[Transaction]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class LogPage:
    """A page of a shard's log. reached: the `seq` to go on after, now or later; more: whether there is more now."""

    transactions: list[Transaction]
    reached: int
    more: bool


class KnownTooNewError(Exception):
    """The moment of knowledge asked for is not in the past: its answer could still change."""


class Reader:
    """Reads. The two questions that are asked most are grouped; a page of transactions takes two statements.

    What takes many rows a replica reads, if there is one.
    """

    def __init__(
        self,
        pool: Any,
        *,
        timeout_seconds: float,
        entries_read_max: int,
        replica: Replica | None = None,
    ) -> None:
        self._pool = pool
        self._replica = replica
        self._timeout_seconds = timeout_seconds
        self._entries_read_max = entries_read_max
        self.was_ready = False
        """Whether `ready` has said so at least once."""
        self._balances = GroupedReads(self._read_balances, keys_max=KEYS_MAX)
        self._transactions = GroupedReads(self._read_transactions, keys_max=KEYS_MAX)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        connections: int,
        timeout_seconds: float,
        entries_read_max: int,
        replica: Replica | None = None,
    ) -> Reader:
        """A reader over a pool of its own; connections are made when they are needed."""
        pool = await open_pool(
            url, connections=connections, statement_timeout_seconds=timeout_seconds
        )
        return cls(
            pool,
            timeout_seconds=timeout_seconds,
            entries_read_max=entries_read_max,
            replica=replica,
        )

    @property
    def pool(self) -> Any:
        """Its connections, for others that read now and then."""
        return self._pool

    async def close(self) -> None:
        """Waits for what is under way, then closes the connections."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def ready(self) -> bool:
        """Whether this database can be posted to."""
        row = await self._fetchrow("ready")
        ready = bool(row and row[0])
        self.was_ready = self.was_ready or ready
        return ready

    async def create_user(self, name: str) -> UserCreation:
        """See `saldo.store.poster.create_user`."""
        return await create_user(self._pool, name, timeout_seconds=self._timeout_seconds)

    async def user(self, user_id: int) -> User | None:
        """The user, or None."""
        row = await self._fetchrow("user_by_id", user_id)
        return None if row is None else User(*row)

    async def users(self, *, after_id: int, name: str | None, limit: int) -> list[User]:
        """Users with greater ids, by id."""
        return [User(*row) for row in await self._fetch("users_page", after_id, name, limit)]

    async def users_of(self, user_ids: Sequence[int], *, after_id: int, limit: int) -> list[User]:
        """Those of some users that there are, with greater ids, by id."""
        rows = await self._fetch("users_some", list(user_ids), after_id, limit)
        return [User(*row) for row in rows]

    async def users_found(
        self,
        beginning: str,
        *,
        after: tuple[str, int] | None,
        among: Sequence[int] | None,
        limit: int,
    ) -> list[User]:
        """Users whose names begin so, whatever the case, by name.

        The case of other letters than a to z counts where the database's locale doesn't know it.

        Args:
            after: those that come after this name and id; None: from the first.
            among: only these; None: all.
        """
        name, user_id = after or (None, None)
        users = None if among is None else list(among)
        end = beginning + LAST_CHARACTER
        rows = await self._fetch("users_found", beginning, end, name, user_id, users, limit)
        return [User(*row) for row in rows]

    async def balance(
        self, user_id: int, date: datetime | None, known_at: datetime | None
    ) -> int | None:
        """The balance in minor units; None: no such user.

        Raises:
            KnownTooNewError: `known_at` is not in the past.
        """
        if date is None and known_at is None:
            return await self._balances.get(user_id)
        asked = of_user(user_id, known_at=known_at)
        rows = await self._fetch_much(asked, "balance_at", user_id, date, known_at)
        return _balance_of(rows[0])

    async def transaction(self, uuid: UUID, user_id: int | None = None) -> Transaction | None:
        """The transaction, posted or refused, or None; with a user: if it is his."""
        if user_id is not None:
            row = await self._fetchrow("transaction_of_user", uuid, user_id)
            return None if row is None else transaction_of(row)
        return await self._transactions.get(uuid)

    async def transactions(
        self,
        user_id: int,
        *,
        before: int | None,
        since: datetime | None,
        until: datetime | None,
        kind: Kind | None,
        limit: int,
        posted: bool | None = None,
        known_at: datetime | None = None,
    ) -> TransactionPage | None:
        """A page of the user's transactions by falling number; None: no such user.

        Args:
            before: numbers below this one; None: from the newest.
            since, until: bounds of the effective time, half-open.
            posted: only those that were, or only those that were refused; None: both.
            known_at: only those that were recorded by then; None: all.

        Raises:
            KnownTooNewError: `known_at` is not in the past.
        """
        if known_at is not None:
            # After this nothing is recorded any more by then.
            _balance_of(await self._fetchrow("balance_at", user_id, None, known_at))
        # Nothing takes effect further ahead of its recording than any setting allows.
        recorded_after = None if since is None else _earlier(since, FUTURE_TOLERANCE_MAX)
        bounds = await self._fetchrow("transactions_bounds", user_id, recorded_after)
        if bounds is None or bounds["last_number"] is None:
            return None
        last_number = bounds["last_number"]
        if known_at is not None:
            last_number = (await self._fetchrow("transactions_bounds", user_id, known_at))[1]
        before = min(before or last_number + 1, last_number + 1)
        floor = bounds["floor_number"]
        # numbers have no gaps, so this many are read at most, whatever the filter leaves of them.
        above = max(floor, before - 1 - max(self._entries_read_max, limit))
        asked = of_user(user_id, below=before)
        arguments = (user_id, above, before, since, until, kind, limit, posted)
        rows = await self._fetch_much(asked, "transactions_page", *arguments)
        found = [transaction_of(row) for row in rows]
        last = found[-1].number if len(found) == limit else above + 1
        return TransactionPage(found, last if last > floor + 1 else None)

    async def log(self, shard: int, *, after: int, limit: int) -> LogPage:
        """The transactions of a shard after a `seq`, in the order of its log, out of so many entries."""
        asked = in_log(shard, min(after + limit + 1, SEQ_MAX))
        rows = await self._fetch_much(asked, "transactions_log", shard, after, limit + 1)
        page = rows[:limit]
        found = [transaction_of(row[2:]) for row in page if row["kind"] != Kind.OPENING]
        return LogPage(found, page[-1]["seq"] if page else after, len(rows) > limit)

    async def _read_balances(self, user_ids: list[int]) -> dict[int, int]:
        return dict(await self._fetch("balances_now", user_ids))

    async def _read_transactions(self, uuids: list[UUID]) -> dict[UUID, Transaction]:
        rows = await self._fetch("transactions_by_uuid", uuids)
        return {row["uuid"]: transaction_of(row) for row in rows}

    async def _fetchrow(self, name: str, *arguments: Any) -> Any:
        rows = await self._fetch(name, *arguments)
        return rows[0] if rows else None

    async def _fetch_much(self, asked: Asked, name: str, *arguments: Any) -> Sequence[Any]:
        """Of the replica, if it has what is asked for."""
        rows = None
        if self._replica is not None:
            rows = await self._replica.fetch(self._pool, asked, name, *arguments)
        return await self._fetch(name, *arguments) if rows is None else rows

    async def _fetch(self, name: str, *arguments: Any) -> Sequence[Any]:
        rows: Sequence[Any] = await fetch(
            self._pool, name, *arguments, timeout_seconds=self._timeout_seconds
        )
        return rows


def transaction_of(row: Any) -> Transaction:
    """The transaction of a row of any statement that selects its columns in their order."""
    fields: list[Any] = list(row)
    fields[-2] = Outcome(fields[-2])
    return Transaction(*fields)


def _balance_of(row: Any) -> int | None:
    if row["known_too_new"]:
        raise KnownTooNewError
    balance: int | None = row["balance"]
    return balance


def _earlier(instant: datetime, by: timedelta) -> datetime:
    return instant - by - MICROSECOND
