"""Sinks: who relays to them, and how far they have got. All of it lives in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from saldo.store.connection import fetch
from saldo.store.log import Positions


class FencedError(Exception):
    """Another relay has taken the sink over, or an operator has moved its cursors."""


class UnknownSinkError(Exception):
    """No sink has this name."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to publish to a sink, and where to go on.

    Attributes:
        epoch: rises with every holder; what is written under an older one is refused.
        log_epoch: changes when the server is restored or promoted (its log may have lost its tail, and gives
            positions again) and when an operator moves the cursors.
        positions: the last confirmed position of every shard.
    """

    sink: str
    epoch: int
    log_epoch: str
    positions: Positions


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """What a sink has got so far, and how far it is behind."""

    name: str
    active: bool
    events_published: int
    events_unrouted: int
    failures: int
    last_failure: str | None
    last_failure_at: datetime | None
    events_behind: int
    seconds_behind: float


class Sinks:
    """Leases and cursors over a pool of connections. Each call is one statement, or two that need no transaction."""

    def __init__(self, pool: Any, *, lease_seconds: float) -> None:
        self._pool = pool
        self._lease = timedelta(seconds=lease_seconds)

    async def create(self, name: str) -> None:
        """Makes sure that the sink exists; a new one begins at the beginning of the log.

        Raises:
            StoreError: it can't be written.
        """
        await fetch(self._pool, "sink_create", name)

    async def take(self, name: str, holder: UUID) -> Lease | None:
        """The lease, if it is free or ours; None while another relay has it.

        Raises:
            StoreError: it is unknown whether it was taken; to try again is safe.
        """
        rows = await fetch(self._pool, "lease_take", name, holder, self._lease)
        if not rows:
            return None
        epoch, rewinds = rows[0]
        # After the lease: nobody else moves them now.
        positions = dict(await fetch(self._pool, "cursors", name))
        ((identity,),) = await fetch(self._pool, "log_identity")
        return Lease(name, epoch, f"{identity}-{rewinds}", positions)

    async def move(
        self, lease: Lease, positions: Mapping[int, int], *, published: int = 0, unrouted: int = 0
    ) -> None:
        """Moves cursors, and renews the lease.

        Args:
            positions: of the shards to move; none: only renew.
            published: events that the sink has confirmed since the last call.
            unrouted: those of them that it had nobody to give to.

        Raises:
            FencedError: the lease is another's now; nothing was moved.
            StoreError: it is unknown whether they were moved.
        """
        rows = await fetch(
            self._pool,
            "cursors_move",
            *(lease.sink, lease.epoch, self._lease, [*positions], [*positions.values()]),
            *(published, unrouted),
        )
        if not rows:
            raise FencedError(lease.sink)

    async def release(self, lease: Lease, failure: str | None = None) -> None:
        """Gives the lease back, so that others needn't wait for its end.

        Args:
            failure: why; counted and kept for the operator.

        Raises:
            StoreError: it can't be written; the lease runs out by itself.
        """
        await fetch(self._pool, "lease_release", lease.sink, lease.epoch, failure)

    async def rewind(self, name: str, positions: Positions) -> None:
        """Moves the cursors of a sink wherever an operator wants them, and fences who holds it.

        Raises:
            UnknownSinkError: there is no such sink.
            StoreError: it is unknown whether they were moved.
        """
        if not await fetch(self._pool, "cursors_rewind", name, [*positions], [*positions.values()]):
            raise UnknownSinkError(name)

    async def status(self) -> list[SinkStatus]:
        """All sinks, by name.

        Raises:
            StoreError: the database can't be read.
        """
        return [SinkStatus(*row) for row in await fetch(self._pool, "sinks")]
