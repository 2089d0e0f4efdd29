"""The totals of the ledger, counted in the background by reading the log. Metrics report the totals, and the audit
compares them with the entries."""

from __future__ import annotations

import asyncio
import logging
import time

from saldo.background.audit_worker import log_fault
from saldo.background.throttle import PostingActivity
from saldo.store.errors import StoreError
from saldo.store.totals import Totals

COUNT_SECONDS = 5.0
"""Pause after a pass that found few entries or failed."""

PASS_SECONDS_TARGET = 0.01
"""Target duration of a pass over many new entries: some 5,000 entries (2 µs each on the machine of docs/benchmarks)."""

PER_SHARD_MIN = 64
PER_SHARD_MAX = 8192
"""Minimum and maximum number of entries read per shard in a pass. The number is low if all shards have new entries, and
high if one user has all of the new entries."""

STEP_BACK = 4.0
"""Pause after a pass that found many entries, as a multiple of its duration. It caps the counting at a fifth of a
processor."""

PAUSE_FACTOR_POSTING = 50.0
"""Pause after a pass that found many entries, while transactions are being posted, as a multiple of the pass's
duration. It caps the counting at a fiftieth of a processor (about 10,000 entries per second). If more are posted, the
totals lag behind."""

_log = logging.getLogger("saldo.relay")


async def run_totals(totals: Totals, posting_activity: PostingActivity) -> None:
    """Count new entries until cancelled. Several processes may count at the same time; each entry is counted once.

    Args:
        posting_activity: the posting activity. Counting slows down while transactions are being posted.
    """
    per_shard = PER_SHARD_MIN
    while True:
        began = time.monotonic()
        try:
            entries, faults = await totals.advance_totals(per_shard)
            for fault in faults:
                log_fault(fault)
        except StoreError as error:
            _log.warning("can't count the ledger's totals: %s", error)
            entries = 0
        except Exception:
            _log.exception("counting the ledger's totals failed unexpectedly")
            entries = 0
        if entries < per_shard:
            per_shard = PER_SHARD_MIN
            await asyncio.sleep(COUNT_SECONDS)
            continue
        seconds = time.monotonic() - began
        per_shard = adjust_entries_per_shard(per_shard, seconds)
        await asyncio.sleep(
            seconds * (PAUSE_FACTOR_POSTING if posting_activity.is_recent else STEP_BACK)
        )


def adjust_entries_per_shard(per_shard: int, seconds: float) -> int:
    """Return the number of entries to read per shard after a pass that took `seconds`."""
    if seconds < PASS_SECONDS_TARGET / 2:
        return min(per_shard * 2, PER_SHARD_MAX)
    if seconds > PASS_SECONDS_TARGET * 2:
        return max(per_shard // 2, PER_SHARD_MIN)
    return per_shard
