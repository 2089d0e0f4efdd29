"""The log as it is read for others: by position, in the order of each shard."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from saldo.store.errors import translated
from saldo.store.statements import statement

Positions = dict[int, int]
"""By shard, the `seq` up to which everything is done."""


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
        rows = await self._fetch("log_after", [*positions], [*positions.values()], per_shard)
        return [LogEntry(*row) for row in rows]

    async def heads(self) -> Positions:
        """The last position of every shard; 0 where there is nothing yet.

        Raises:
            StoreError: the database can't be read.
        """
        return dict(await self._fetch("log_heads"))

    async def before(self, moment: datetime) -> Positions:
        """The positions after which everything was recorded at the moment or later.

        Raises:
            StoreError: the database can't be read.
        """
        return dict(await self._fetch("log_before", moment))

    async def _fetch(self, name: str, *arguments: Any) -> Any:
        try:
            async with self._pool.acquire() as connection:
                return await connection.fetch(statement(name), *arguments)
        except Exception as error:
            raise translated(error) from error
