"""Forgotten: that a client sees what it was told before. Balances of now are kept for a second in each process.

Harm: a client posts, reads, and gets the balance from before; two reads of one client go back in time.
Fence taken down: none. Reads are grouped and never kept (`saldo.store.grouped`).
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from saldo.bootstrap import service
from saldo.store.reader import Reader
from torture.mutants.mutant import Mutant, replace

KEPT_SECONDS = 1.0


class StaleReader(Reader):
    """Answers from what it has read within the last second."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._kept: dict[int, tuple[float, int]] = {}

    async def balance(
        self, user_id: int, date: datetime | None, known_at: datetime | None
    ) -> int | None:
        """As the parent's, as of some moment within the last second."""
        if date is not None or known_at is not None:
            return await super().balance(user_id, date, known_at)
        kept = self._kept.get(user_id)
        now = time.monotonic()
        if kept is not None and now - kept[0] < KEPT_SECONDS:
            return kept[1]
        balance = await super().balance(user_id, None, None)
        if balance is not None:
            self._kept[user_id] = (now, balance)
        return balance


def plant() -> None:
    """See the file."""
    replace(service, "Reader", StaleReader)


MUTANT = Mutant("stale_reads", caught_as=("not linearizable",), provoked_by=(), plant=plant)
