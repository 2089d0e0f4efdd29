"""Audits the whole log in the background, round after round, at a pace that nobody notices.

Many processes may do so: one has the lease. The position is in the database, so a round goes on wherever the next
process takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import uuid4

from saldo.ledger.audit import Fault, Position
from saldo.ledger.model import SHARDS
from saldo.relay.pace import Beside
from saldo.store.audits import AuditLease, Audits
from saldo.store.errors import StoreError
from saldo.store.sinks import FencedError
from saldo.store.walk import LogReader, ShardWalk, users_without_entries

STEP_ENTRIES: Final = 512
"""Looked at together: some milliseconds, of the database and of this process."""

STEP_BACK_POSTING: Final = 4.0
"""So many times slower while somebody posts."""

REST_FACTOR: Final = 4.0
"""After each step at least so many times as long as it took: a fifth of a processor at most, on any machine."""

ROUND_SECONDS_MIN: Final = 60.0
"""From the beginning of a round to the next one's: a small ledger needn't be audited all the time."""

RETRY_SECONDS: Final = 5.0
"""After a failure."""

RELEASE_SECONDS_MAX: Final = 1.0
"""At the end, for giving the lease back: it runs out by itself."""

RENEWALS: Final = 3
"""So many times in the time of a lease it is renewed, and the position kept."""

_log = logging.getLogger("saldo.audit")


class AuditLimits(NamedTuple):
    """How fast, and for how long without a sign of life."""

    entries_per_second: int
    lease_seconds: float


class Auditor:
    """Walks through the log as long as it has the lease."""

    def __init__(
        self, audits: Audits, reader: LogReader, beside: Beside, limits: AuditLimits
    ) -> None:
        """
        Args:
            beside: whom it steps back for.
        """
        self._audits = audits
        self._reader = reader
        self._beside = beside
        self._limits = limits
        self._holder = uuid4()
        self._lease: AuditLease | None = None
        self._kept_at = 0.0
        self._entries = 0

    async def run(self) -> None:
        """Audits until it is cancelled."""
        try:
            while True:
                await self._try()
        finally:
            if self._lease is not None:
                with contextlib.suppress(StoreError, TimeoutError):
                    async with asyncio.timeout(RELEASE_SECONDS_MAX):
                        await self._audits.release(self._lease)

    async def _try(self) -> None:
        try:
            self._lease = await self._audits.take(self._holder)
            if self._lease is None:
                await asyncio.sleep(self._limits.lease_seconds)
                return
            self._kept_at, self._entries = time.monotonic(), 0
            await self._rounds(self._lease)
        except FencedError:
            self._lease = None
        except StoreError as error:
            _log.warning("the ledger can't be audited: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            _log.exception("the audit failed in a way nobody foresaw")
            await asyncio.sleep(RETRY_SECONDS)

    async def _rounds(self, lease: AuditLease) -> None:
        position = lease.position
        while True:
            began = time.monotonic()
            while position.shard < SHARDS:
                await self._shard(lease, position)
                position = Position(position.shard + 1)
                await self._keep(lease, position)
            step_began = time.monotonic()
            async for faults in users_without_entries(self._reader):
                await self._found(faults)
                await self._rest(0, step_began)
                await self._keep(lease, position)
                step_began = time.monotonic()
            await self._keep(lease, position, at_once=True)
            await self._audits.complete(lease)
            position = Position(0)
            while (rest := began + ROUND_SECONDS_MIN - time.monotonic()) > 0:
                await asyncio.sleep(min(rest, self._limits.lease_seconds / RENEWALS))
                await self._keep(lease, position)

    async def _shard(self, lease: AuditLease, position: Position) -> None:
        began = time.monotonic()
        walk = ShardWalk(self._reader, position)
        await self._found(await walk.start())
        while not walk.done:
            before = walk.position.seq
            await self._found(await walk.step(STEP_ENTRIES))
            entries = walk.position.seq - before
            self._entries += entries
            await self._rest(entries, began)
            await self._keep(lease, walk.position)
            began = time.monotonic()

    async def _found(self, faults: Sequence[Fault]) -> None:
        for fault in await self._audits.record(faults) if faults else ():
            tell(fault)

    async def _rest(self, entries: int, began: float) -> None:
        """After a step of so many entries."""
        took = time.monotonic() - began
        due = entries / self._limits.entries_per_second
        await asyncio.sleep(rest_seconds(due, took, posting=self._beside.posting))

    async def _keep(self, lease: AuditLease, position: Position, *, at_once: bool = False) -> None:
        """Keeps the position and the lease, if it is time."""
        now = time.monotonic()
        if not at_once and now < self._kept_at + self._limits.lease_seconds / RENEWALS:
            return
        await self._audits.move(lease, position, self._entries)
        self._kept_at, self._entries = now, 0


def rest_seconds(due: float, took: float, *, posting: bool) -> float:
    """How long to rest after a step that took so long, and should have taken `due` seconds by the named pace."""
    if posting:
        due *= STEP_BACK_POSTING
    return max(due - took, took * REST_FACTOR)


def tell(fault: Fault) -> None:
    """One line for a fault that was not known. What was found and expected may be an amount: that is not for logs."""
    _log.error(
        "the ledger is not whole: %s breaks the rule %s; see saldo audit status",
        fault.place,
        fault.rule,
    )
