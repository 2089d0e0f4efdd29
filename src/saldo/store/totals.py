"""What the ledger holds: counted along the log, so that nobody has to count all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from saldo.store.connection import fetch


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """All of the ledger, as far as it has been counted.

    Attributes:
        balance: sum of the users' balances, minor units.
        faults: entries whose balance is negative, or doesn't follow from the entry before.
        seconds_behind: age of the oldest entry not counted; 0: none.
    """

    users: int
    posted: int
    refused: int
    balance: int
    faults: int
    seconds_behind: float


class Totals:
    """Reads and advances them over a pool of connections. Each call is one statement."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def read(self) -> LedgerTotals:
        """What has been counted.

        Raises:
            StoreError: the database can't be asked.
        """
        ((users, posted, refused, balance, faults, behind),) = await fetch(self._pool, "totals")
        return LedgerTotals(users, posted, refused, int(balance), faults, behind)

    async def advance(self, per_shard: int) -> int:
        """Counts up to so many more entries of each shard; how many there were.

        Raises:
            StoreError: the database can't be asked.
        """
        ((entries,),) = await fetch(self._pool, "totals_advance", per_shard)
        return int(entries)
