"""What the ledger holds: counted along the log, so that nobody has to count all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from saldo.ledger.audit import Fault, Rule
from saldo.store.audits import FAULTS_MAX
from saldo.store.connection import fetch


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """All of the ledger, as far as it has been counted.

    Attributes:
        balance: sum of the users' balances, minor units.
        seconds_behind: age of the oldest entry not counted; 0: none.
    """

    users: int
    posted: int
    refused: int
    balance: int
    seconds_behind: float


class Counted(NamedTuple):
    """How many entries were counted, and the faults among them that were not known."""

    entries: int
    faults: list[Fault]


class Totals:
    """Reads and advances them over a pool of connections. Each call is one statement."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def read(self) -> LedgerTotals:
        """What has been counted.

        Raises:
            StoreError: the database can't be asked.
        """
        ((users, posted, refused, balance, behind),) = await fetch(self._pool, "totals")
        return LedgerTotals(users, posted, refused, int(balance), behind)

    async def advance(self, per_shard: int) -> Counted:
        """Counts up to so many more entries of each shard.

        Raises:
            StoreError: the database can't be asked.
        """
        rows = await fetch(self._pool, "totals_advance", per_shard, FAULTS_MAX)
        faults = [Fault(Rule(rule), *fault) for _, rule, *fault in rows if rule is not None]
        return Counted(int(rows[0]["entries"]), faults)
