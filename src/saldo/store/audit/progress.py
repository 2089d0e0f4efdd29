"""The progress, the lease and the faults of the audit in the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from saldo.ledger.audit.rules import AuditPosition, LedgerFault, Rule, ShardCounts
from saldo.store.connections.connection import fetch
from saldo.store.sinks import LeaseLostError

FAULTS_MAX: Final = 1000
"""Maximum number of recorded faults; further ones are not recorded. A ledger with this many must be examined by a
person anyway."""


class AuditLease(NamedTuple):
    """The lease of the audit, with the position from which it continues."""

    epoch: int
    position: AuditPosition


@dataclass(frozen=True, slots=True)
class AuditStatus:
    """The state of the audit.

    Attributes:
        is_active: Whether a process holds the lease.
        rounds: The number of completed rounds.
        entries: The number of entries checked in all rounds.
        shard, seq: The position in the current round.
        round_age_seconds: The time since the last round was completed; None if none was.
        faults: The number of unacknowledged faults.
    """

    is_active: bool
    rounds: int
    entries: int
    shard: int
    seq: int
    round_began_at: datetime
    last_round_ended_at: datetime | None
    round_age_seconds: float | None
    faults: int


class KnownFault(NamedTuple):
    """A recorded fault."""

    id: int
    fault: LedgerFault
    first_found_at: datetime
    last_found_at: datetime
    times_found: int
    acknowledged_at: datetime | None
    acknowledged_why: str | None


class AuditProgress:
    """Reads and writes the audit's state over a pool of connections. Each call is one statement."""

    def __init__(self, pool: Any, *, lease_seconds: float) -> None:
        self._pool = pool
        self._lease = timedelta(seconds=lease_seconds)

    async def acquire_lease(self, holder: UUID) -> AuditLease | None:
        """Take the lease, or renew it if `holder` already has it. Return None while another process has it.

        Raises:
            StoreError: It is unknown whether the lease was taken. A retry is safe.
        """
        rows = await fetch(self._pool, "audit_progress/acquire_lease", holder, self._lease)
        if not rows:
            return None
        epoch, *position, users, posted, refused, balance = rows[0]
        counts = ShardCounts(users, posted, refused, int(balance))
        return AuditLease(epoch, AuditPosition(*position)._replace(counts=counts))

    async def store_position(
        self, lease: AuditLease, position: AuditPosition, entries: int
    ) -> None:
        """Store the position and renew the lease.

        Args:
            entries: The number of entries checked since the last call.

        Raises:
            LeaseLostError: Another process has the lease; nothing was stored.
            StoreError: It is unknown whether the position was stored.
        """
        *place, counts = position
        arguments = (lease.epoch, self._lease, entries, *place, *counts)
        if not await fetch(self._pool, "audit_progress/store_position", *arguments):
            raise LeaseLostError("the audit")

    async def complete_round(self, lease: AuditLease) -> None:
        """Complete the round, so that the next one begins.

        Raises:
            LeaseLostError: Another process has the lease.
            StoreError: It is unknown whether the completion was stored.
        """
        if not await fetch(self._pool, "audit_progress/complete_round", lease.epoch, self._lease):
            raise LeaseLostError("the audit")

    async def release_lease(self, lease: AuditLease) -> None:
        """Release the lease, so that other processes need not wait for its expiry.

        Raises:
            StoreError: It is unknown whether the lease was released. It expires in any case.
        """
        await fetch(self._pool, "audit_progress/release_lease", lease.epoch)

    async def record_faults(self, faults: Sequence[LedgerFault]) -> list[LedgerFault]:
        """Store faults, and return those that were not known before.

        Raises:
            StoreError: It is unknown whether the faults were stored. A retry is safe.
        """
        fault_of_key = {
            (fault.shard, fault.seq, fault.rule, fault.user_id): fault for fault in faults
        }
        columns = zip(*fault_of_key.values(), strict=True)
        recorded_faults = await fetch(
            self._pool, "audit_progress/record_faults", *columns, FAULTS_MAX
        )
        new_faults = {row[:3] for row in map(tuple, recorded_faults) if row[3] == 1}
        return [fault for fault in faults if (fault.shard, fault.seq, fault.rule) in new_faults]

    async def read_status(self) -> AuditStatus:
        """Return the state of the audit.

        Raises:
            StoreError: The database can't be read.
        """
        (row,) = await fetch(self._pool, "audit_progress/status")
        return AuditStatus(*row)

    async def list_faults(self) -> list[KnownFault]:
        """Return all recorded faults, unacknowledged ones first.

        Raises:
            StoreError: The database can't be read.
        """
        known_faults = []
        for id_, rule, *fault_and_times in await fetch(
            self._pool, "audit_progress/faults", FAULTS_MAX
        ):
            fault = LedgerFault(Rule(rule), *fault_and_times[:8])
            known_faults.append(KnownFault(id_, fault, *fault_and_times[8:]))
        return known_faults

    async def acknowledge_fault(self, fault_id: int, reason: str) -> bool:
        """Acknowledge a fault, so that the fault is no longer counted. Return False if there is no such fault.

        Raises:
            StoreError: It is unknown whether the acknowledgement was stored. A retry is safe.
        """
        return bool(await fetch(self._pool, "audit_progress/acknowledge_fault", fault_id, reason))
