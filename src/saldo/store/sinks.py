"""Sinks in PostgreSQL: their leases and cursors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from saldo.store.connections.connection import fetch
from saldo.store.log import Positions


class LeaseLostError(Exception):
    """Raised when another relay has taken the lease, or an operator has moved the cursors."""


class UnknownSinkError(Exception):
    """Raised when no sink has the given name."""


@dataclass(frozen=True, slots=True)
class SinkLease:
    """A lease on a sink, with the cursors from which publishing continues.

    Attributes:
        epoch: A number that increases when the lease gets another holder. Writes with an older epoch are rejected.
        log_epoch: A text that changes when an operator moves the cursors, and when the server is restored or promoted,
            because the log may then have lost its last entries and assign the same positions again.
        positions: The last confirmed position of every shard.
        identity: The identity of the log to which the positions belong, see `saldo.store.log.Log.read_identity`.
    """

    sink: str
    epoch: int
    log_epoch: str
    positions: Positions
    identity: str = ""


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """The counters and the lag of a sink.

    Attributes:
        is_active: Whether a relay holds the lease.
        is_blocked: Whether the broker has blocked the relay's connection within the last minute.
    """

    name: str
    is_active: bool
    events_published: int
    events_unrouted: int
    failures: int
    last_failure: str | None
    last_failure_at: datetime | None
    events_behind: int
    seconds_behind: float
    is_blocked: bool


class Sinks:
    """Reads and writes leases and cursors over a pool. Each call is one statement, or two that need no transaction."""

    def __init__(self, pool: Any, *, lease_seconds: float) -> None:
        self._pool = pool
        self._lease = timedelta(seconds=lease_seconds)

    async def create(self, name: str) -> None:
        """Create the sink if it does not exist. The cursors of a new sink are at the beginning of the log.

        Raises:
            StoreError: It is unknown whether the sink was created. A retry is safe.
        """
        await fetch(self._pool, "sinks/create", name)

    async def acquire_lease(self, name: str, holder: UUID) -> SinkLease | None:
        """Take the lease if it is free or already held by `holder`. Return None while another relay has it.

        Raises:
            StoreError: It is unknown whether the lease was taken. A retry is safe.
        """
        rows = await fetch(self._pool, "sinks/acquire_lease", name, holder, self._lease)
        if not rows:
            return None
        epoch, rewinds = rows[0]
        # The cursors are read after the lease was taken, because no other relay can move them from then on.
        cursors = await fetch(self._pool, "sinks/cursors", name)
        positions = {row["shard"]: row["seq"] for row in cursors}
        identity = cursors[0]["identity"] if cursors else ""
        return SinkLease(name, epoch, f"{identity}-{rewinds}", positions, identity)

    async def move_cursors(
        self,
        lease: SinkLease,
        positions: Mapping[int, int],
        *,
        published: int = 0,
        unrouted: int = 0,
    ) -> None:
        """Move cursors and renew the lease.

        Args:
            positions: The new positions by shard; an empty mapping only renews the lease.
            published: The number of events that the sink has confirmed since the last call.
            unrouted: The number of those events that the broker could not route to any queue.

        Raises:
            LeaseLostError: Another relay has the lease, or the database has failed over since the lease was taken.
                Nothing was moved.
            StoreError: It is unknown whether the cursors were moved.
        """
        rows = await fetch(
            self._pool,
            "sinks/move_cursors",
            *(lease.sink, lease.epoch, self._lease, [*positions], [*positions.values()]),
            *(published, unrouted, lease.identity),
        )
        if not rows:
            raise LeaseLostError(lease.sink)

    async def report_blocked(self, lease: SinkLease, reason: str) -> None:
        """Record that the broker blocks the connection of the lease's holder, for the status and the metrics.

        Args:
            reason: One line for the operator.

        Raises:
            StoreError: It is unknown whether the report was recorded.
        """
        await fetch(self._pool, "sinks/record_blocked_broker", lease.sink, lease.epoch, reason)

    async def release_lease(self, lease: SinkLease, failure: str | None = None) -> None:
        """Release the lease, so that other relays need not wait for its expiry.

        Args:
            failure: The failure that ended the relay, if any. It is counted and stored for the operator.

        Raises:
            StoreError: It is unknown whether the lease was released; it expires in any case.
        """
        await fetch(self._pool, "sinks/release_lease", lease.sink, lease.epoch, failure)

    async def rewind_cursors(self, name: str, positions: Positions) -> None:
        """Move the cursors of a sink to any positions, and end the lease of its holder.

        Raises:
            UnknownSinkError: The sink does not exist.
            StoreError: It is unknown whether the cursors were moved.
        """
        if not await fetch(
            self._pool, "sinks/rewind_cursors", name, [*positions], [*positions.values()]
        ):
            raise UnknownSinkError(name)

    async def list_statuses(self) -> list[SinkStatus]:
        """Return the status of all sinks, by name.

        Raises:
            StoreError: The database can't be read.
        """
        return [SinkStatus(*row) for row in await fetch(self._pool, "sinks/status")]
