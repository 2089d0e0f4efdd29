"""Forgotten: that nothing is recorded before the commit. The answer leaves first, the commit follows a little later.

Harm: whatever is killed in between, of the service and the database, forgets what was acknowledged. Until the commit,
a client doesn't see what it was told. And whoever hears that the commit has failed tells nobody.
Fence taken down: none. A statement of the real service is a transaction of its own, so there is nothing between its
commit and its result; here there is a transaction around it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from saldo.bootstrap import service
from saldo.ledger.model import Decision, TransactionRequest
from saldo.store.errors import StoreError, translated
from saldo.store.poster import Poster
from torture.mutants.mutant import Mutant, replace

COMMIT_SECONDS = 0.05
"""Between the answer and the commit: long enough for a kill to fall into it, under traffic nearly always."""


class HastyPoster(Poster):
    """Answers, then commits. The next batch waits for the commit of the one before."""

    _committing: asyncio.Task[None] | None = None

    async def post(
        self, requests: Sequence[TransactionRequest], *, atomic: bool = False
    ) -> list[Decision]:
        """As the parent's, and not committed when this returns."""
        await self._committed()
        transaction = self._connection.transaction()
        try:
            await transaction.start()
        except Exception as error:
            raise translated(error) from error
        try:
            decisions = await super().post(requests, atomic=atomic)
        except StoreError:
            with suppress(Exception):
                await transaction.rollback()
            raise
        self._committing = asyncio.create_task(_commit(transaction))
        return decisions

    async def close(self) -> None:
        """As the parent's."""
        await self._committed()
        await super().close()

    async def _committed(self) -> None:
        if self._committing is not None:
            await self._committing


async def _commit(transaction: Any) -> None:
    await asyncio.sleep(COMMIT_SECONDS)
    with suppress(Exception):
        await transaction.commit()


def plant() -> None:
    """See the file."""
    replace(service, "Poster", HastyPoster)


MUTANT = Mutant(
    "acknowledges_before_commit",
    caught_as=("lost", "not linearizable"),
    provoked_by=("service killed", "postgresql killed"),
    plant=plant,
)
