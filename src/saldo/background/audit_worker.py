"""The audit: checks the whole log in the background, round after round, at a low rate.

Several processes may run it, and one of them holds the lease. The position is stored in the database, so that the next
holder continues the round where it was interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import uuid4

from saldo.background.throttle import PostingActivity
from saldo.ledger.audit.rules import AuditPosition, LedgerFault
from saldo.ledger.model import SHARDS
from saldo.store.audit.progress import AuditLease, AuditProgress
from saldo.store.audit.shard_scan import AuditReader, ShardScan, find_users_without_entries
from saldo.store.errors import StoreError
from saldo.store.sinks import LeaseLostError

STEP_ENTRIES: Final = 512
"""Number of entries checked per step. A step takes a few milliseconds, both in the database and in this process."""

POSTING_SLOWDOWN_FACTOR: Final = 4.0
"""Factor by which the audit is slower while transactions are being posted."""

PAUSE_FACTOR: Final = 4.0
"""Minimum pause after a step, as a multiple of its duration. It caps the audit at a fifth of a processor."""

ROUND_SECONDS_MIN: Final = 60.0
"""Minimum time between the starts of two rounds, so that a small ledger is not audited all the time."""

RETRY_SECONDS: Final = 5.0
"""Pause after a failure."""

RELEASE_SECONDS_MAX: Final = 1.0
"""Maximum time for releasing the lease at the end. A lease that is not released expires."""

RENEWALS: Final = 3
"""Number of times per lease duration that the lease is renewed and the position saved."""

_log = logging.getLogger("saldo.audit")


class AuditLimits(NamedTuple):
    """The rate of the audit, and the duration of its lease."""

    entries_per_second: int
    lease_seconds: float


class Auditor:
    """A worker that scans the log while it holds the lease."""

    def __init__(
        self,
        audits: AuditProgress,
        reader: AuditReader,
        posting_activity: PostingActivity,
        limits: AuditLimits,
    ) -> None:
        """
        Args:
            posting_activity: the posting activity. The audit slows down while transactions are being posted.
        """
        self._audits = audits
        self._reader = reader
        self._posting_activity = posting_activity
        self._limits = limits
        self._holder = uuid4()
        self._lease: AuditLease | None = None
        self._saved_at = 0.0
        self._entries = 0

    async def run(self) -> None:
        """Run the audit until it is cancelled."""
        try:
            while True:
                await self._audit_while_leased()
        finally:
            if self._lease is not None:
                with contextlib.suppress(StoreError, TimeoutError):
                    async with asyncio.timeout(RELEASE_SECONDS_MAX):
                        await self._audits.release_lease(self._lease)

    async def _audit_while_leased(self) -> None:
        try:
            self._lease = await self._audits.acquire_lease(self._holder)
            if self._lease is None:
                await asyncio.sleep(self._limits.lease_seconds)
                return
            self._saved_at, self._entries = time.monotonic(), 0
            await self._run_rounds(self._lease)
        except LeaseLostError:
            self._lease = None
        except StoreError as error:
            _log.warning("can't audit the ledger: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            _log.exception("the audit failed unexpectedly")
            await asyncio.sleep(RETRY_SECONDS)

    async def _run_rounds(self, lease: AuditLease) -> None:
        position = lease.position
        while True:
            began_at = time.monotonic()
            while position.shard < SHARDS:
                await self._audit_shard(lease, position)
                position = AuditPosition(position.shard + 1)
                await self._save_progress(lease, position)
            step_began_at = time.monotonic()
            async for faults in find_users_without_entries(self._reader):
                await self._record_faults(faults)
                await self._throttle(0, step_began_at)
                await self._save_progress(lease, position)
                step_began_at = time.monotonic()
            await self._save_progress(lease, position, at_once=True)
            await self._audits.complete_round(lease)
            position = AuditPosition(0)
            while (remaining_seconds := began_at + ROUND_SECONDS_MIN - time.monotonic()) > 0:
                await asyncio.sleep(min(remaining_seconds, self._limits.lease_seconds / RENEWALS))
                await self._save_progress(lease, position)

    async def _audit_shard(self, lease: AuditLease, position: AuditPosition) -> None:
        began_at = time.monotonic()
        scan = ShardScan(self._reader, position)
        await self._record_faults(await scan.start())
        while not scan.is_done:
            previous_seq = scan.position.seq
            await self._record_faults(await scan.step(STEP_ENTRIES))
            entries = scan.position.seq - previous_seq
            self._entries += entries
            await self._throttle(entries, began_at)
            await self._save_progress(lease, scan.position)
            began_at = time.monotonic()

    async def _record_faults(self, faults: Sequence[LedgerFault]) -> None:
        for fault in await self._audits.record_faults(faults) if faults else ():
            log_fault(fault)

    async def _throttle(self, entries: int, began_at: float) -> None:
        """Pause after a step that checked `entries` entries and began at `began_at`."""
        step_seconds = time.monotonic() - began_at
        planned_seconds = entries / self._limits.entries_per_second
        await asyncio.sleep(
            compute_pause_seconds(
                planned_seconds, step_seconds, is_posting=self._posting_activity.is_recent
            )
        )

    async def _save_progress(
        self, lease: AuditLease, position: AuditPosition, *, at_once: bool = False
    ) -> None:
        """Save the position and renew the lease, if that is due or `at_once`."""
        now = time.monotonic()
        if not at_once and now < self._saved_at + self._limits.lease_seconds / RENEWALS:
            return
        await self._audits.store_position(lease, position, self._entries)
        self._saved_at, self._entries = now, 0


def compute_pause_seconds(
    planned_seconds: float, step_seconds: float, *, is_posting: bool
) -> float:
    """Return the pause after a step, in seconds.

    Args:
        planned_seconds: the duration of the step at the configured rate.
        step_seconds: the actual duration of the step.
        is_posting: whether transactions are being posted.
    """
    if is_posting:
        planned_seconds *= POSTING_SLOWDOWN_FACTOR
    return max(planned_seconds - step_seconds, step_seconds * PAUSE_FACTOR)


def log_fault(fault: LedgerFault) -> None:
    """Log a newly found fault in one line, without the found and the expected value, since these may be amounts."""
    _log.error(
        "the audit found a fault: %s violates the rule %s; see saldo audit status",
        fault.place,
        fault.rule,
    )
