"""The log as it is read for others: by position, in the order of each shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from saldo.ledger.model import SEQ_MAX, SHARDS
from saldo.store.connection import fetch

Positions = dict[int, int]
"""By shard, the `seq` up to which everything is done."""

NOTICES_SHARD: Final = SHARDS
"""Where notices stand as if they were of the log: after its last shard."""


class LogEntry(NamedTuple):
    """An entry of the log; see `saldo.ledger.model.Entry`.

    Attributes:
        timestamp: of an opening entry: when it was recorded.
        user_name: of an opening entry only.
    """

    shard: int
    seq: int
    user_id: int
    number: int
    uuid: UUID
    kind: int
    outcome: int
    amount: int
    balance: int
    timestamp: datetime
    recorded_at: datetime
    user_name: str | None


class Notice(NamedTuple):
    """A webhook that the service has disabled: told beside the log, at a position of its own.

    Attributes:
        reason: gone: its endpoint answered 410; failing: no attempt had succeeded for too long.
        failing_since: since when none had.
    """

    seq: int
    uuid: UUID
    recorded_at: datetime
    webhook_id: int
    reason: Literal["gone", "failing"]
    failing_since: datetime | None
    last_failure: str | None


class LogPage(NamedTuple):
    """Some of the log, from a position on.

    Attributes:
        entries: those that were asked for, in the order of each shard.
        reached: of the shards that had something new: up to where everything has been looked at.
        left: those of them that have more.
        identity: which log this is, see `Log.identity`; None: there was nothing new.
    """

    entries: list[LogEntry]
    reached: Positions
    left: set[int]
    identity: str | None


class Log:
    """Reads the log over a pool of connections."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def after(self, positions: Mapping[int, int], per_shard: int) -> list[LogEntry]:
        """Up to so many entries of each of the shards after its position.

        Whatever is committed later has a greater position in its shard: nothing is ever passed over.

        Raises:
            StoreError: the database can't be read.
        """
        rows = await fetch(self._pool, "log_after", [*positions], [*positions.values()], per_shard)
        return [LogEntry(*row) for row in rows]

    async def notices_after(self, seq: int, limit: int) -> list[Notice]:
        """Up to so many notices after a position, in their order.

        Raises:
            StoreError: the database can't be read.
        """
        return [Notice(*row) for row in await fetch(self._pool, "notices_after", seq, limit)]

    async def page(
        self,
        positions: Mapping[int, int],
        per_shard: int,
        *,
        until: Mapping[int, int] | None = None,
        users: Sequence[int] | None = None,
        kinds: Sequence[int] | None = None,
    ) -> LogPage:
        """Looks at up to so many entries of each of the shards after its position.

        Args:
            until: no further than this, by shard; None: to the end.
            users: only entries of these; None: of all.
            kinds: only 0 (users created), 1 (transactions posted), 2 (refused); None: all.

        Raises:
            StoreError: the database can't be read.
        """
        ends = [SEQ_MAX if until is None else until[shard] for shard in positions]
        rows = await fetch(
            self._pool,
            "log_page",
            [*positions],
            [*positions.values()],
            ends,
            per_shard,
            users,
            kinds,
        )
        reached: Positions = {}
        left: set[int] = set()
        for row in rows:
            if row["shard"] not in reached:
                reached[row["shard"]] = row["reached"]
                end = row["head"] if until is None else min(row["head"], until[row["shard"]])
                if row["reached"] < end:
                    left.add(row["shard"])
        entries = [LogEntry(row[0], *row[4:]) for row in rows if row["seq"] is not None]
        return LogPage(entries, reached, left, rows[0]["identity"] if rows else None)

    async def identity(self) -> str:
        """Which log this is: another one after the server was restored or promoted.

        Raises:
            StoreError: the database can't be read.
        """
        ((identity,),) = await fetch(self._pool, "log_identity")
        return str(identity)

    async def at(self, places: Sequence[tuple[int, int, UUID]]) -> list[LogEntry | Notice]:
        """The entries, or notices, at (shard, seq) with the uuid, in no order; those that aren't there any more are
        left out.

        Raises:
            StoreError: the database can't be read.
        """
        found: list[LogEntry | Notice] = []
        entries = [place for place in places if place[0] != NOTICES_SHARD]
        if entries:
            columns = zip(*entries, strict=True)
            found += [LogEntry(*row) for row in await fetch(self._pool, "log_at", *columns)]
        notices = [(seq, uuid) for shard, seq, uuid in places if shard == NOTICES_SHARD]
        if notices:
            columns = zip(*notices, strict=True)
            found += [Notice(*row) for row in await fetch(self._pool, "notices_at", *columns)]
        return found

    async def heads(self) -> Positions:
        """The last position of every shard, that of the notices among them; 0 where there is nothing yet.

        Raises:
            StoreError: the database can't be read.
        """
        return dict(await fetch(self._pool, "log_heads"))

    async def before(self, moment: datetime) -> Positions:
        """The positions after which everything was recorded at the moment or later; notices, too.

        Raises:
            StoreError: the database can't be read.
        """
        return dict(await fetch(self._pool, "log_before", moment))
