"""Whether a ledger is whole: what every copy of one is held against before it is trusted."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import psycopg

from saldo.store.errors import SetUpError
from saldo.store.statements import statement


class Audit(NamedTuple):
    """What was counted; see sql/audit.sql.

    Attributes:
        last_recorded_at: None: the log is empty.
        balances_wrong: entries whose balance is not the sum of what was posted so far.
        numbers_missing: entries that don't follow the user's last one.
        shards_with_gaps: whose `seq` is not 1, 2, 3 …
        users_without_entries: without the opening entry.
        users_missing: users of entries that don't exist.
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
        """Those counts that should be zero and are not."""
        counted = self._asdict()
        names = list(self._fields[3:])
        return {name.replace("_", " "): counted[name] for name in names if counted[name]}


def audit(url: str) -> Audit:
    """Reads the whole ledger and counts.

    Raises:
        SetUpError: it is not whole; the line says in what.
        psycopg.Error: it can't be read.
    """
    with psycopg.connect(url) as connection:
        row = connection.execute(statement("audit")).fetchone()
    assert row is not None
    found = Audit(*row)
    if found.faults:
        written = ", ".join(f"{name}: {count:,}" for name, count in found.faults.items())
        raise SetUpError(f"the ledger is not whole: {written}")
    return found
