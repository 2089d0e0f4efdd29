"""Reads for charts and overviews: the balance of a user over time, and the largest recent transactions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from saldo.store.connections.connection import fetch
from saldo.store.connections.replica import Replica, describe_user_query
from saldo.store.reader import Transaction, convert_row

LATE_ENTRIES_MAX: Final = 20_000
"""Maximum number of a user's late entries that are read. Reading so many takes some ten milliseconds. Most users have
no late entries."""

RECENT_ENTRIES_PER_SHARD: Final = 50
"""Number of last entries that are read from each shard. From all shards these are 3,200, which takes some
milliseconds."""


class TimeRange(NamedTuple):
    """The first and the last time at which a user's balance changes; both are None if it never changes."""

    first: datetime | None
    last: datetime | None


class NumberRange(NamedTuple):
    """The numbers of the entries in a time range.

    Attributes:
        above, last: The bounds (`above` exclusive) of the numbers of all entries in the time range that were on time.
            Refused and late entries also have numbers between the bounds.
        late: The count of all late entries of the user, whatever their timestamps are; at most `LATE_ENTRIES_MAX` + 1.
    """

    above: int
    last: int
    late: int

    @property
    def entry_count_max(self) -> int:
        """The number of entries that must be read to get all changes."""
        return self.last - self.above + self.late


class BalanceChange(NamedTuple):
    """A change of the balance. The amount is in minor units, negative for a withdrawal."""

    timestamp: datetime
    amount: int


class Charts:
    """Reads over a pool of connections. Each call is one statement. Reads of many rows use the replica, if there is
    one.

    The methods raise StoreError when the database can't be read.
    """

    def __init__(
        self, pool: Any, *, timeout_seconds: float, replica: Replica | None = None
    ) -> None:
        self._pool = pool
        self._replica = replica
        self._timeout_seconds = timeout_seconds

    async def read_time_span(self, user_id: int) -> TimeRange | None:
        """Return the time range with changes; None if the user does not exist."""
        rows = await self._fetch("charts/time_span", user_id, LATE_ENTRIES_MAX)
        return TimeRange(*rows[0]) if rows else None

    async def read_number_range(
        self, user_id: int, after: datetime, until: datetime
    ) -> NumberRange | None:
        """Return the bounds of the numbers of the entries that took effect after `after` and up to `until`; None if the
        user does not exist."""
        rows = await self._fetch(
            "charts/number_bounds", user_id, after, until, LATE_ENTRIES_MAX + 1
        )
        return NumberRange(*rows[0]) if rows and rows[0]["last"] is not None else None

    async def list_balance_changes(
        self, user_id: int, bounds: NumberRange, after: datetime, until: datetime
    ) -> list[BalanceChange]:
        """Return all changes in the order in which they took effect. The call reads `bounds.entries` entries."""
        arguments = (user_id, bounds.above, bounds.last, after, until)
        rows = await self._fetch_from_replica(user_id, "charts/balance_changes", *arguments)
        return [BalanceChange(*row) for row in rows]

    async def list_balances_at(self, user_id: int, moments: Sequence[datetime]) -> list[int]:
        """Return the balance at each of several ascending times. Each time costs as much as reading a balance at a
        date."""
        rows = await self._fetch_from_replica(
            user_id, "charts/balances_at_times", user_id, list(moments)
        )
        return [int(row[1]) for row in rows]

    async def list_largest_recent_transactions(self, limit: int) -> list[Transaction]:
        """Return the largest of the recently posted transactions."""
        rows = await self._fetch(
            "charts/largest_recent_transactions", RECENT_ENTRIES_PER_SHARD, limit
        )
        return [convert_row(row) for row in rows]

    async def _fetch_from_replica(self, user_id: int, name: str, *arguments: Any) -> Sequence[Any]:
        rows = None
        if self._replica is not None:
            rows = await self._replica.fetch(
                self._pool, describe_user_query(user_id), name, *arguments
            )
        return await self._fetch(name, *arguments) if rows is None else rows

    async def _fetch(self, name: str, *arguments: Any) -> Sequence[Any]:
        rows: Sequence[Any] = await fetch(
            self._pool, name, *arguments, timeout_seconds=self._timeout_seconds
        )
        return rows
