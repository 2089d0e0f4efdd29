"""Reads of users, balances and transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from saldo.ledger.instants import FUTURE_TOLERANCE_MAX, MICROSECOND
from saldo.ledger.model import SEQ_MAX, USER_ID_MAX, Kind, Outcome
from saldo.store.batched_reads import BatchedReads
from saldo.store.connections.connection import check_reachable, fetch, open_pool
from saldo.store.connections.replica import (
    Replica,
    ReplicaQuery,
    describe_log_query,
    describe_user_query,
)
from saldo.store.poster import UserCreation, create_user

KEYS_MAX = 1000
"""Maximum number of keys in one batched read. A read of this size takes some milliseconds."""

LAST_CHARACTER = "\U0010ffff"
"""The greatest character. All names with a prefix sort between the prefix and the prefix followed by this character."""


@dataclass(frozen=True, slots=True)
class User:
    """A user with the current balance in minor units."""

    id: int
    name: str
    created_at: datetime
    balance: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """A client's transaction as it is recorded.

    Attributes:
        amount: The amount in minor units, negative for a withdrawal.
        balance: The balance after the transaction, in minor units.
        late: Whether the timestamp precedes that of a transaction posted earlier (a late entry).
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
    """A page of transactions, newest first.

    Attributes:
        next_before: The value of `before` for the next page; None on the last page.
    """

    transactions: list[Transaction]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class ShardPage:
    """A page of a shard's log.

    Attributes:
        reached: The `seq` after which the next page begins, now or later.
        has_more: Whether the shard has further entries now.
    """

    transactions: list[Transaction]
    reached: int
    has_more: bool


class KnownAtInFutureError(Exception):
    """Raised when `known_at` is not in the past, so that the result could still change."""


class Reader:
    """Reads users, balances and transactions, and creates users.

    The two most frequent reads (the current balance, a transaction by uuid) are batched. A page of transactions takes
    two statements or more. Reads of many rows use the replica, if there is one.
    """

    def __init__(
        self,
        pool: Any,
        *,
        timeout_seconds: float,
        entries_read_max: int,
        replica: Replica | None = None,
        url: str | None = None,
    ) -> None:
        """
        Args:
            url: The connection string, which the lanes also use. `is_ready` checks with it whether new connections are
                possible; None omits this check.
        """
        self._pool = pool
        self._replica = replica
        self._timeout_seconds = timeout_seconds
        self._entries_read_max = entries_read_max
        self._url = url
        self.was_ready = False
        """True after `is_ready` has returned True at least once."""
        self._balances = BatchedReads(self._read_balances, keys_max=KEYS_MAX)
        self._transactions = BatchedReads(self._read_transactions, keys_max=KEYS_MAX)

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
        """Create a reader with its own pool. Connections are opened on demand."""
        pool = await open_pool(
            url, connections=connections, statement_timeout_seconds=timeout_seconds
        )
        return cls(
            pool,
            timeout_seconds=timeout_seconds,
            entries_read_max=entries_read_max,
            replica=replica,
            url=url,
        )

    @property
    def pool(self) -> Any:
        """The pool of connections, for other components that read occasionally."""
        return self._pool

    @property
    def replica_pool(self) -> Any | None:
        """The pool of connections to the replica; None if there is none."""
        return None if self._replica is None else self._replica.pool

    async def close(self) -> None:
        """Wait for running statements, at most `timeout_seconds`, and close the connections."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def is_ready(self) -> bool:
        """Return whether transactions can be posted to the database.

        Raises:
            StoreError: The database can't be queried, or the last attempt to connect failed and a new attempt fails,
                too.
        """
        row = await self._fetchrow("ledger/ready")
        ready = bool(row and row[0])
        if ready and self._url is not None:
            await check_reachable(self._url)
        self.was_ready = self.was_ready or ready
        return ready

    async def create_user(self, name: str) -> UserCreation:
        """Create a user; see `saldo.store.poster.create_user`."""
        return await create_user(self._pool, name, timeout_seconds=self._timeout_seconds)

    async def get_user(self, user_id: int) -> User | None:
        """Return a user, or None."""
        if user_id > USER_ID_MAX:
            return None
        row = await self._fetchrow("users/by_id", user_id)
        return None if row is None else User(*row)

    async def list_users(self, *, after_id: int, name: str | None, limit: int) -> list[User]:
        """Return a page of users, by id; with `name`, only the user with this name."""
        return [User(*row) for row in await self._fetch("users/page", after_id, name, limit)]

    async def get_users(self, user_ids: Sequence[int], *, after_id: int, limit: int) -> list[User]:
        """Return a page of those of the given users that exist, by id."""
        rows = await self._fetch("users/by_ids", list(user_ids), after_id, limit)
        return [User(*row) for row in rows]

    async def search_users(
        self,
        name_prefix: str,
        *,
        after: tuple[str, int] | None,
        user_ids: Sequence[int] | None,
        limit: int,
    ) -> list[User]:
        """Return users whose names begin with a prefix, ordered by name. Upper and lower case are not distinguished.

        If the database's locale knows no case for letters other than a to z, such letters must match exactly.

        Args:
            name_prefix: The prefix.
            after: The name and id after which the page begins; None begins with the first user.
            user_ids: The user ids to which the search is limited; None searches all users.
        """
        name, user_id = after or (None, None)
        users = None if user_ids is None else list(user_ids)
        end = name_prefix + LAST_CHARACTER
        rows = await self._fetch(
            "users/search_by_name", name_prefix, end, name, user_id, users, limit
        )
        return [User(*row) for row in rows]

    async def read_balance(
        self, user_id: int, date: datetime | None, known_at: datetime | None
    ) -> int | None:
        """Return a user's balance in minor units; None if the user does not exist.

        Args:
            date: The date of the balance (inclusive); None for the latest balance.
            known_at: Only entries that were recorded up to this time are counted; None counts all entries.

        Raises:
            KnownAtInFutureError: `known_at` is not in the past.
        """
        if user_id > USER_ID_MAX:
            return None
        if date is None and known_at is None:
            return await self._balances.get(user_id)
        query = describe_user_query(user_id, known_at=known_at)
        rows = await self._fetch_from_replica(query, "balances/at_date", user_id, date, known_at)
        return _convert_balance(rows[0])

    async def get_transaction(self, uuid: UUID, user_id: int | None = None) -> Transaction | None:
        """Return a posted or refused transaction. Return None if it does not exist, or if it belongs to another user
        than `user_id`."""
        if user_id is not None and user_id > USER_ID_MAX:
            return None
        if user_id is not None:
            row = await self._fetchrow("transactions/by_uuid_and_user", uuid, user_id)
            return None if row is None else convert_row(row)
        return await self._transactions.get(uuid)

    async def list_transactions(
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
        """Return a page of a user's transactions by descending number; None if the user does not exist.

        Args:
            before: The number below which the page begins; None begins with the newest transaction.
            since, until: The bounds of the timestamp: `since` is included, `until` is not.
            posted: True for posted transactions only, False for refused ones only, None for both.
            known_at: Only transactions that were recorded up to this time are returned; None returns all.

        Raises:
            KnownAtInFutureError: `known_at` is not in the past.
        """
        if user_id > USER_ID_MAX:
            return None
        if known_at is not None:
            # This raises KnownAtInFutureError if more entries can still be recorded up to `known_at`.
            _convert_balance(await self._fetchrow("balances/at_date", user_id, None, known_at))
        # A timestamp can be ahead of the recorded time by at most this maximum, so entries that were recorded earlier
        # don't match.
        recorded_after = None if since is None else _subtract_tolerance(since, FUTURE_TOLERANCE_MAX)
        bounds = await self._fetchrow("transactions/number_bounds", user_id, recorded_after)
        if bounds is None or bounds["last_number"] is None:
            return None
        last_number = bounds["last_number"]
        if known_at is not None:
            last_number = (await self._fetchrow("transactions/number_bounds", user_id, known_at))[1]
        before = min(before or last_number + 1, last_number + 1)
        floor = bounds["floor_number"]
        # Numbers have no gaps, so this bound limits the number of rows that are read, even if the filter matches only a
        # few.
        above = max(floor, before - 1 - max(self._entries_read_max, limit))
        asked = describe_user_query(user_id, below=before)
        arguments = (user_id, above, before, since, until, kind, limit, posted)
        rows = await self._fetch_from_replica(asked, "transactions/page_of_user", *arguments)
        found = [convert_row(row) for row in rows]
        last = found[-1].number if len(found) == limit else above + 1
        return TransactionPage(found, last if last > floor + 1 else None)

    async def read_shard_page(self, shard: int, *, after: int, limit: int) -> ShardPage:
        """Read the next `limit` entries of a shard after a `seq`, and return the transactions among them, in the order
        of the log."""
        query = describe_log_query(shard, min(after + limit + 1, SEQ_MAX))
        rows = await self._fetch_from_replica(
            query, "transactions/page_of_shard", shard, after, limit + 1
        )
        page = rows[:limit]
        transactions = [convert_row(row[2:]) for row in page if row["kind"] != Kind.OPENING]
        return ShardPage(transactions, page[-1]["seq"] if page else after, len(rows) > limit)

    async def _read_balances(self, user_ids: list[int]) -> dict[int, int]:
        return dict(await self._fetch("balances/current", user_ids))

    async def _read_transactions(self, uuids: list[UUID]) -> dict[UUID, Transaction]:
        rows = await self._fetch("transactions/by_uuid", uuids)
        return {row["uuid"]: convert_row(row) for row in rows}

    async def _fetchrow(self, name: str, *arguments: Any) -> Any:
        rows = await self._fetch(name, *arguments)
        return rows[0] if rows else None

    async def _fetch_from_replica(
        self, query: ReplicaQuery, name: str, *arguments: Any
    ) -> Sequence[Any]:
        """Run a statement on the replica, or on the primary if the replica can't answer it."""
        rows = None
        if self._replica is not None:
            rows = await self._replica.fetch(self._pool, query, name, *arguments)
        return await self._fetch(name, *arguments) if rows is None else rows

    async def _fetch(self, name: str, *arguments: Any) -> Sequence[Any]:
        rows: Sequence[Any] = await fetch(
            self._pool, name, *arguments, timeout_seconds=self._timeout_seconds
        )
        return rows


def convert_row(row: Any) -> Transaction:
    """Convert a row to a transaction. The columns are the fields of `Transaction`, in their order."""
    fields: list[Any] = list(row)
    fields[-2] = Outcome(fields[-2])
    return Transaction(*fields)


def _convert_balance(row: Any) -> int | None:
    if row["known_too_new"]:
        raise KnownAtInFutureError
    balance = row["balance"]
    # The column is numeric, because a balance in the past may exceed a bigint.
    return None if balance is None else int(balance)


def _subtract_tolerance(instant: datetime, tolerance: timedelta) -> datetime:
    return instant - tolerance - MICROSECOND
