"""How far the audit in the background is, who does it, and what it has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from saldo.ledger.audit import Counts, Fault, Position, Rule
from saldo.store.connection import fetch
from saldo.store.sinks import FencedError

FAULTS_MAX: Final = 1000
"""That are kept: with as many a ledger is looked at by people. Further ones are not recorded."""


class AuditLease(NamedTuple):
    """The right to audit, until it runs out, and where to go on."""

    epoch: int
    position: Position


@dataclass(frozen=True, slots=True)
class AuditStatus:
    """How the audit is.

    Attributes:
        active: whether a process does it.
        rounds: completed.
        entries: looked at in all rounds.
        shard, seq: the position in this round.
        round_age_seconds: since the last round was complete; None: none was.
        faults: that nobody has acknowledged.
    """

    active: bool
    rounds: int
    entries: int
    shard: int
    seq: int
    round_began_at: datetime
    last_round_ended_at: datetime | None
    round_age_seconds: float | None
    faults: int


class KnownFault(NamedTuple):
    """A fault that was recorded."""

    id: int
    fault: Fault
    first_found_at: datetime
    last_found_at: datetime
    times_found: int
    acknowledged_at: datetime | None
    acknowledged_why: str | None


class Audits:
    """Reads and writes them over a pool of connections. Each call is one statement."""

    def __init__(self, pool: Any, *, lease_seconds: float) -> None:
        self._pool = pool
        self._lease = timedelta(seconds=lease_seconds)

    async def take(self, holder: UUID) -> AuditLease | None:
        """The lease, if it is free or ours; None while another process has it.

        Raises:
            StoreError: it is unknown whether it was taken; to try again is safe.
        """
        rows = await fetch(self._pool, "audit_take", holder, self._lease)
        if not rows:
            return None
        epoch, *position, users, posted, refused, balance = rows[0]
        counts = Counts(users, posted, refused, int(balance))
        return AuditLease(epoch, Position(*position)._replace(counts=counts))

    async def move(self, lease: AuditLease, position: Position, entries: int) -> None:
        """Keeps the position, and renews the lease.

        Args:
            entries: that were looked at since the last call.

        Raises:
            FencedError: the lease is another's now; nothing was kept.
            StoreError: it is unknown whether it was.
        """
        *place, counts = position
        arguments = (lease.epoch, self._lease, entries, *place, *counts)
        if not await fetch(self._pool, "audit_move", *arguments):
            raise FencedError("the audit")

    async def complete(self, lease: AuditLease) -> None:
        """Everything has been looked at: the next round begins.

        Raises:
            FencedError: the lease is another's now.
            StoreError: it is unknown whether that was kept.
        """
        if not await fetch(self._pool, "audit_complete", lease.epoch, self._lease):
            raise FencedError("the audit")

    async def release(self, lease: AuditLease) -> None:
        """Gives the lease back, so that others needn't wait for its end.

        Raises:
            StoreError: it can't be written; the lease runs out by itself.
        """
        await fetch(self._pool, "audit_release", lease.epoch)

    async def record(self, faults: Sequence[Fault]) -> list[Fault]:
        """Keeps what was found; those that were not known.

        Raises:
            StoreError: it is unknown whether they were kept; to try again is safe.
        """
        named = {(fault.shard, fault.seq, fault.rule, fault.user_id): fault for fault in faults}
        columns = zip(*named.values(), strict=True)
        recorded = await fetch(self._pool, "audit_record", *columns, FAULTS_MAX)
        new = {row[:3] for row in map(tuple, recorded) if row[3] == 1}
        return [fault for fault in faults if (fault.shard, fault.seq, fault.rule) in new]

    async def status(self) -> AuditStatus:
        """How the audit is.

        Raises:
            StoreError: the database can't be read.
        """
        (row,) = await fetch(self._pool, "audit_status")
        return AuditStatus(*row)

    async def faults(self) -> list[KnownFault]:
        """All that were recorded, those first that nobody has acknowledged.

        Raises:
            StoreError: the database can't be read.
        """
        found = []
        for id_, rule, *fault_and_times in await fetch(self._pool, "audit_faults", FAULTS_MAX):
            fault = Fault(Rule(rule), *fault_and_times[:8])
            found.append(KnownFault(id_, fault, *fault_and_times[8:]))
        return found

    async def acknowledge(self, fault_id: int, why: str) -> bool:
        """An operator has seen to it: it counts no longer. False: there is no such fault.

        Raises:
            StoreError: it is unknown whether that was kept; to try again is safe.
        """
        return bool(await fetch(self._pool, "audit_acknowledge", fault_id, why))
