"""Counts what the ledger holds along the log, in the background: for the metrics, and a first audit of every entry."""

from __future__ import annotations

import asyncio
import logging

from saldo.relay.pace import Beside
from saldo.store.errors import StoreError
from saldo.store.totals import Totals

COUNT_SECONDS = 5.0
"""Between two looks; also when one has failed."""

PER_SHARD = 64
"""Entries of each shard at once: some ten milliseconds of the database."""

STEP_BACK = 4.0
STEP_BACK_POSTING = 50.0
"""After each look that found much, so many times as long as it took: a fifth of a processor at most, a fiftieth while
somebody posts. Some seven thousand transactions a second are counted along then; of more the figures come later."""

_log = logging.getLogger("saldo.relay")


async def count(totals: Totals, beside: Beside) -> None:
    """Counts whatever comes, until it is cancelled. However many do it, each entry is counted once.

    Args:
        beside: whom it steps back for.
    """
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            entries = await totals.advance(PER_SHARD)
        except StoreError as error:
            _log.warning("the ledger can't be counted: %s", error)
            entries = 0
        except Exception:
            _log.exception("counting failed in a way nobody foresaw")
            entries = 0
        if entries < PER_SHARD:
            await asyncio.sleep(COUNT_SECONDS)
        else:
            step_back = STEP_BACK_POSTING if beside.posting else STEP_BACK
            await asyncio.sleep(step_back * (loop.time() - began))
