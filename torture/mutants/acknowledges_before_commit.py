"""Mutant that answers before the commit, which follows a little later.

Forgotten: nothing counts as recorded before the commit.
Harm: a service or a database that is killed between the answer and the commit loses what was acknowledged. Until the
commit, a client doesn't see its own transaction. If the commit fails, nobody is notified.
Safeguard removed: none. In the real service a statement is a transaction of its own, so nothing can come between
its commit and its result; here there is a transaction around it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from saldo.bootstrap import service
from saldo.ledger.model import Decision, TransactionRequest
from saldo.store.errors import StoreError, translate_error
from saldo.store.poster import Poster
from torture.mutants.mutant import Mutant, replace

COMMIT_SECONDS = 0.05
"""Pause between the answer and the commit, in seconds. Under traffic, a kill nearly always happens during such a
pause."""


class HastyPoster(Poster):
    """A poster that answers and then commits. The next batch waits for the commit of the batch before."""

    _committing: asyncio.Task[None] | None = None

    async def post(
        self, requests: Sequence[TransactionRequest], *, atomic: bool = False
    ) -> Sequence[Decision | None]:
        """Post a batch as the parent does, but return before it is committed."""
        await self._wait_for_commit()
        transaction = self._connection.transaction()
        try:
            await transaction.start()
        except Exception as error:
            raise translate_error(error) from error
        try:
            decisions = await super().post(requests, atomic=atomic)
        except StoreError:
            with suppress(Exception):
                await transaction.rollback()
            raise
        self._committing = asyncio.create_task(_commit(transaction))
        return decisions

    async def close(self) -> None:
        """Wait for the last commit, then close the connection."""
        await self._wait_for_commit()
        await super().close()

    async def _wait_for_commit(self) -> None:
        if self._committing is not None:
            await self._committing


async def _commit(transaction: Any) -> None:
    await asyncio.sleep(COMMIT_SECONDS)
    with suppress(Exception):
        await transaction.commit()


def plant() -> None:
    """Plant the bug that the module's docstring describes."""
    replace(service, "Poster", HastyPoster)


MUTANT = Mutant(
    "acknowledges_before_commit",
    caught_as=("lost", "not linearizable"),
    provoked_by=("service killed", "postgresql killed"),
    plant=plant,
)
