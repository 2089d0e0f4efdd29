"""Stored totals of the ledger. They are updated from the new entries of the log, so that no read has to count all
entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from saldo.ledger.audit.rules import LedgerFault, Rule
from saldo.store.audit.progress import FAULTS_MAX
from saldo.store.connections.connection import fetch


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """The totals over the entries that have been counted.

    Attributes:
        balance: The sum of all users' balances in minor units.
        deposit_sum, withdrawal_sum: The sums of posted deposits and withdrawals in minor units. They begin when the
            ledger is created, or upgraded to the version that counts them.
        seconds_behind: The age of the oldest entry that is not counted yet; 0 if all are counted.
    """

    users: int
    posted_entries: int
    refused_entries: int
    balance: int
    deposit_sum: int
    withdrawal_sum: int
    seconds_behind: float


class CountResult(NamedTuple):
    """The number of entries that one call counted, and the new faults that it found."""

    entries: int
    faults: list[LedgerFault]


class Totals:
    """Reads and advances the totals over a pool of connections. Each call is one statement."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def read_totals(self) -> LedgerTotals:
        """Return the totals.

        Raises:
            StoreError: The database can't be queried.
        """
        ((users, posted, refused, balance, deposit_sum, withdrawal_sum, behind),) = await fetch(
            self._pool, "totals/read"
        )
        return LedgerTotals(
            users, posted, refused, int(balance), int(deposit_sum), int(withdrawal_sum), behind
        )

    async def advance_totals(self, per_shard: int) -> CountResult:
        """Count up to `per_shard` further entries of each shard.

        Raises:
            StoreError: It is unknown whether the entries were counted. A retry is safe.
        """
        rows = await fetch(self._pool, "totals/advance", per_shard, FAULTS_MAX)
        faults = [LedgerFault(Rule(rule), *fault) for _, rule, *fault in rows if rule is not None]
        return CountResult(int(rows[0]["entries"]), faults)
