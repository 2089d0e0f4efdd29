"""Counts what the ledger holds along the log, in the background: for the metrics, and a first audit of every entry."""

from __future__ import annotations

import asyncio
import logging

from saldo.relay.pace import Pace
from saldo.store.errors import StoreError
from saldo.store.totals import Totals

COUNT_SECONDS = 5.0
"""Between two looks; also when one has failed."""

PER_SHARD = 64
"""Entries of each shard at once: some ten milliseconds of the database."""

STEP_BACK = 4.0
"""After each look that found much, so many times as long as it took: a fifth of a processor at most."""

_log = logging.getLogger("saldo.relay")


async def count(totals: Totals) -> None:
    """Counts whatever comes, until it is cancelled. However many do it, each entry is counted once."""
    loop = asyncio.get_running_loop()
    pace = Pace()
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
            await asyncio.sleep(STEP_BACK * (loop.time() - began) + pace.rest_seconds())
