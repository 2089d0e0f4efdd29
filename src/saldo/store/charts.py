"""What charts and overviews are made of: the balance of a user over time, and the largest of what was posted last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from saldo.store.connection import fetch
from saldo.store.reader import Transaction, transaction_of
from saldo.store.replica import Replica, of_user

LATE_ENTRIES_MAX: Final = 20_000
"""Late entries of a user that are looked at, normally none: some ten milliseconds."""

MOVEMENTS_OF_SHARD: Final = 50
"""Of each of the 64 shards so many of its last entries are looked at: 3,200 in all, some milliseconds."""


class Span(NamedTuple):
    """The first and the last moment at which a user's balance changes; None: it never does."""

    first: datetime | None
    last: datetime | None


class Bounds(NamedTuple):
    """Where the entries of a range stand.

    Attributes:
        above, last: those that were on time are between these numbers; refused and late ones, too.
        late: late entries of the user, in any range, `LATE_ENTRIES_MAX` and one at most.
    """

    above: int
    last: int
    late: int

    @property
    def entries(self) -> int:
        """How many are read for all of them."""
        return self.last - self.above + self.late


class Change(NamedTuple):
    """An entry that changes the balance. amount: signed minor units."""

    timestamp: datetime
    amount: int


class Charts:
    """Reads over a pool of connections. Each call is one statement; what takes many rows a replica reads, if there is
    one.

    It raises StoreError when the database can't be asked.
    """

    def __init__(
        self, pool: Any, *, timeout_seconds: float, replica: Replica | None = None
    ) -> None:
        self._pool = pool
        self._replica = replica
        self._timeout_seconds = timeout_seconds

    async def span(self, user_id: int) -> Span | None:
        """From when to when there is something to be seen; None: no such user."""
        rows = await self._fetch("chart_span", user_id, LATE_ENTRIES_MAX)
        return Span(*rows[0]) if rows else None

    async def bounds(self, user_id: int, after: datetime, until: datetime) -> Bounds | None:
        """Where the entries after a moment and until another stand; None: no such user."""
        rows = await self._fetch("chart_bounds", user_id, after, until, LATE_ENTRIES_MAX + 1)
        return Bounds(*rows[0]) if rows and rows[0]["last"] is not None else None

    async def changes(
        self, user_id: int, bounds: Bounds, after: datetime, until: datetime
    ) -> list[Change]:
        """All of them, as they took effect. Reads `bounds.entries` entries."""
        arguments = (user_id, bounds.above, bounds.last, after, until)
        rows = await self._fetch_much(user_id, "chart_entries", *arguments)
        return [Change(*row) for row in rows]

    async def sampled(self, user_id: int, moments: Sequence[datetime]) -> list[int]:
        """The balance at each of the moments, which rise. Each costs as much as a balance at a date."""
        rows = await self._fetch_much(user_id, "chart_sampled", user_id, list(moments))
        return [row[1] for row in rows]

    async def largest_recent(self, limit: int) -> list[Transaction]:
        """The largest of what was posted last."""
        rows = await self._fetch("largest_recent", MOVEMENTS_OF_SHARD, limit)
        return [transaction_of(row) for row in rows]

    async def _fetch_much(self, user_id: int, name: str, *arguments: Any) -> Sequence[Any]:
        rows = None
        if self._replica is not None:
            rows = await self._replica.fetch(self._pool, of_user(user_id), name, *arguments)
        return await self._fetch(name, *arguments) if rows is None else rows

    async def _fetch(self, name: str, *arguments: Any) -> Sequence[Any]:
        rows: Sequence[Any] = await fetch(
            self._pool, name, *arguments, timeout_seconds=self._timeout_seconds
        )
        return rows
