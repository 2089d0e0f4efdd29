"""Counts what the ledger holds along the log, in the background: for the metrics, and a first audit of every entry."""

from __future__ import annotations

import asyncio
import logging
import time

from saldo.relay.auditing import tell
from saldo.relay.pace import Beside
from saldo.store.errors import StoreError
from saldo.store.totals import Totals

COUNT_SECONDS = 5.0
"""Between two looks; also when one has failed."""

LOOK_SECONDS = 0.01
"""What a look at much that is new should take: some 5,000 entries (2 µs each on the machine of docs/benchmarks)."""

PER_SHARD_MIN = 64
PER_SHARD_MAX = 8192
"""Entries of each shard at once: few where all shards have some, many where one user has all."""

STEP_BACK = 4.0
STEP_BACK_POSTING = 50.0
"""After each look that found much, so many times as long as it took: a fifth of a processor at most, a fiftieth while
somebody posts. Then about 10,000 entries a second are counted along; of more the figures come later."""

_log = logging.getLogger("saldo.relay")


async def count(totals: Totals, beside: Beside) -> None:
    """Counts whatever comes, until it is cancelled. However many do it, each entry is counted once.

    Args:
        beside: whom it steps back for.
    """
    per_shard = PER_SHARD_MIN
    while True:
        began = time.monotonic()
        try:
            entries, faults = await totals.advance(per_shard)
            for fault in faults:
                tell(fault)
        except StoreError as error:
            _log.warning("the ledger can't be counted: %s", error)
            entries = 0
        except Exception:
            _log.exception("counting failed in a way nobody foresaw")
            entries = 0
        if entries < per_shard:
            per_shard = PER_SHARD_MIN
            await asyncio.sleep(COUNT_SECONDS)
            continue
        seconds = time.monotonic() - began
        per_shard = next_per_shard(per_shard, seconds)
        await asyncio.sleep(seconds * (STEP_BACK_POSTING if beside.posting else STEP_BACK))


def next_per_shard(per_shard: int, seconds: float) -> int:
    """How many to ask for after a look that took so long."""
    if seconds < LOOK_SECONDS / 2:
        return min(per_shard * 2, PER_SHARD_MAX)
    if seconds > LOOK_SECONDS * 2:
        return max(per_shard // 2, PER_SHARD_MIN)
    return per_shard
