"""The integrity check of a ledger, which every restored or upgraded copy must pass."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import psycopg

from saldo.store.errors import DamagedDataError
from saldo.store.statements import load_statement


class IntegrityReport(NamedTuple):
    """The counts of the check; see sql/schema/integrity_check.sql.

    Attributes:
        last_recorded_at: The recorded time of the last entry; None if the log is empty.
        balances_wrong: The number of entries whose balance is not the sum of the posted amounts.
        numbers_missing: The number of entries whose number does not follow that of the user's previous entry.
        shards_with_gaps: The number of shards whose `seq` is not 1, 2, 3 …
        users_without_entries: The number of users without an opening entry.
        users_missing: The number of users that have entries, but do not exist.
    """

    users: int
    entries: int
    last_recorded_at: datetime | None
    balances_wrong: int
    numbers_missing: int
    shards_with_gaps: int
    users_without_entries: int
    users_missing: int

    @property
    def faults(self) -> dict[str, int]:
        """Return the counts of faults that are not zero, by description."""
        counted = self._asdict()
        names = list(self._fields[3:])
        return {name.replace("_", " "): counted[name] for name in names if counted[name]}


def check_integrity(url: str) -> IntegrityReport:
    """Read and check the whole ledger.

    Raises:
        DamagedDataError: The ledger violates rules. The message names them. psycopg.Error: The ledger can't be read.
    """
    with psycopg.connect(url) as connection:
        row = connection.execute(load_statement("schema/integrity_check")).fetchone()
    assert row is not None
    found = IntegrityReport(*row)
    if found.faults:
        written = ", ".join(f"{name}: {count:,}" for name, count in found.faults.items())
        raise DamagedDataError(f"the ledger is not intact: {written}")
    return found
