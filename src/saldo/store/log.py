"""Reads of the log by position, in the order of each shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from saldo.ledger.model import SEQ_MAX, SHARDS
from saldo.store.connections.connection import fetch
from saldo.store.errors import LogIdentityMismatchError

Positions = dict[int, int]
"""The `seq` by shard up to which the log has been processed."""

NOTICES_SHARD: Final = SHARDS
"""Number by which positions and events denote notices. It follows the number of the log's last shard."""


class LogEntry(NamedTuple):
    """An entry of the log; see `saldo.ledger.model.Entry`.

    Attributes:
        timestamp: The timestamp; for an opening entry, the user's `created_at`, as in the API.
        user_name: The user's name, for an opening entry only.
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
    """A notice that the service has disabled a webhook. Notices are not entries of the log, and have their own
    positions.

    Attributes:
        reason: "gone" after a response 410; "failing" if no attempt had succeeded for too long.
        failing_since: The time of the first failed attempt since the last success.
    """

    seq: int
    uuid: UUID
    recorded_at: datetime
    webhook_id: int
    reason: Literal["gone", "failing"]
    failing_since: datetime | None
    last_failure: str | None


class LogPage(NamedTuple):
    """A part of the log from a position on.

    Attributes:
        entries: The matching entries, in the order of each shard.
        reached: For each shard with new entries, the `seq` up to which it was read.
        shards_with_more: The shards that have more entries.
        identity: The log identity, see `Log.read_identity`; None if there was nothing new.
    """

    entries: list[LogEntry]
    reached: Positions
    shards_with_more: set[int]
    identity: str | None


class Log:
    """Reads the log over a pool of connections."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def list_entries_after(
        self, positions: Mapping[int, int], per_shard: int, *, identity: str | None = None
    ) -> list[LogEntry]:
        """Return up to `per_shard` entries of each shard after its position.

        An entry that is committed later has a greater position in its shard, so that no entry is skipped.

        Args:
            identity: The identity of the log that the positions are from (`Log.read_identity`). None omits this check.

        Raises:
            LogIdentityMismatchError: The positions belong to another log than the one that was read.
            StoreError: The database can't be read.
        """
        rows = await fetch(
            self._pool, "log/entries_after", [*positions], [*positions.values()], per_shard
        )
        if rows and identity is not None and rows[0]["identity"] != identity:
            raise LogIdentityMismatchError("the database was restored or has failed over")
        return [LogEntry(*row[:-1]) for row in rows]

    async def list_notices_after(self, seq: int, limit: int) -> list[Notice]:
        """Return a limited number of notices after a position, in order.

        Raises:
            StoreError: The database can't be read.
        """
        return [Notice(*row) for row in await fetch(self._pool, "log/notices_after", seq, limit)]

    async def read_page(
        self,
        positions: Mapping[int, int],
        per_shard: int,
        *,
        until: Mapping[int, int] | None = None,
        users: Sequence[int] | None = None,
        kinds: Sequence[int] | None = None,
    ) -> LogPage:
        """Read a limited number of entries of each shard after its position, and filter them.

        Args:
            until: The last `seq` to read, by shard; None reads to the end.
            users: The users whose entries are returned; None for all.
            kinds: The kinds of entries that are returned: 0 (user created), 1 (transaction posted), 2 (transaction
                refused); None for all.

        Raises:
            StoreError: The database can't be read.
        """
        ends = [SEQ_MAX if until is None else until[shard] for shard in positions]
        rows = await fetch(
            self._pool,
            "log/page",
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

    async def read_identity(self) -> str:
        """Return the log identity, which changes when the server is restored or promoted.

        Raises:
            StoreError: The database can't be read.
        """
        ((identity,),) = await fetch(self._pool, "log/identity")
        return str(identity)

    async def list_entries_at(
        self, places: Sequence[tuple[int, int, UUID]]
    ) -> list[LogEntry | Notice]:
        """Return the entries or notices with the given (shard, seq) and uuid, unordered.

        Entries and notices that no longer exist are left out.

        Raises:
            StoreError: The database can't be read.
        """
        found_entries: list[LogEntry | Notice] = []
        entries = [place for place in places if place[0] != NOTICES_SHARD]
        if entries:
            columns = zip(*entries, strict=True)
            found_entries += [
                LogEntry(*row) for row in await fetch(self._pool, "log/entries_at", *columns)
            ]
        notices = [(seq, uuid) for shard, seq, uuid in places if shard == NOTICES_SHARD]
        if notices:
            columns = zip(*notices, strict=True)
            found_entries += [
                Notice(*row) for row in await fetch(self._pool, "log/notices_at", *columns)
            ]
        return found_entries

    async def read_last_positions(self) -> Positions:
        """Return the last position of every shard and of the notices; 0 for an empty shard.

        Raises:
            StoreError: The database can't be read.
        """
        return (await self.read_end())[1]

    async def read_end(self) -> tuple[str, Positions]:
        """Return the identity of the log and the last positions (see `read_identity` and `read_last_positions`), both
        read by one statement.

        Raises:
            StoreError: The database can't be read.
        """
        rows = await fetch(self._pool, "log/last_positions")
        return rows[0]["identity"], {row["shard"]: row["seq"] for row in rows}

    async def find_positions_at(self, moment: datetime) -> Positions:
        """Return, for every shard and for the notices, the position after which everything was recorded at the given
        time or later.

        Raises:
            StoreError: The database can't be read.
        """
        return dict(await fetch(self._pool, "log/positions_before", moment))
