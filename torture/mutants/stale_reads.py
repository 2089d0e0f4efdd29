"""Mutant that caches current balances for a second in each process.

Forgotten: a client sees what was acknowledged to it.
Harm: a client posts, reads, and gets the balance from before; two reads of one client go back in time.
Safeguard removed: none. The real service batches reads but never caches them (`saldo.store.batched_reads`).
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from saldo.bootstrap import service
from saldo.store.reader import Reader
from torture.mutants.mutant import Mutant, replace

CACHE_SECONDS = 1.0


class StaleReader(Reader):
    """A reader that returns balances that are up to one second old."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._kept: dict[int, tuple[float, int]] = {}

    async def read_balance(
        self, user_id: int, date: datetime | None, known_at: datetime | None
    ) -> int | None:
        """Return the balance as the parent does, but as of some moment within the last second."""
        if date is not None or known_at is not None:
            return await super().read_balance(user_id, date, known_at)
        kept = self._kept.get(user_id)
        now = time.monotonic()
        if kept is not None and now - kept[0] < CACHE_SECONDS:
            return kept[1]
        balance = await super().read_balance(user_id, None, None)
        if balance is not None:
            self._kept[user_id] = (now, balance)
        return balance


def plant() -> None:
    """Plant the bug that the module's docstring describes."""
    replace(service, "Reader", StaleReader)


MUTANT = Mutant("stale_reads", caught_as=("not linearizable",), provoked_by=(), plant=plant)
