"""The relay of one sink: takes the lease, reads the log after the cursors, publishes, and moves the cursors.

A cursor moves only after the sink has confirmed, so that no event is lost if a process dies. If a process dies after
events were confirmed and before the cursor was moved, these events are published again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

from saldo.background.throttle import CpuThrottle, PostingActivity
from saldo.events.event import Event, EventEncoder
from saldo.relay.sink import Sink, SinkError
from saldo.store.errors import StoreError
from saldo.store.log import NOTICES_SHARD, Log, LogEntry, Notice, Positions
from saldo.store.sinks import LeaseLostError, SinkLease, Sinks

BACKOFF_SECONDS_MIN = 0.2
BACKOFF_SECONDS_MAX = 30.0
"""Minimum and maximum pause between attempts to reach a sink that is down. The pauses are short enough to resume soon,
and long enough not to overload the sink."""

BLOCKED_POLL_SECONDS = 0.2
"""Interval at which a relay that is stopping checks whether the sink is blocked."""

CLOSING_SECONDS = 3.0
"""Part of the shutdown timeout that is reserved for closing the connections to sinks. It is more than
`CLOSE_SECONDS_MAX`."""

PER_SHARD_MIN = 16
"""Minimum number of entries requested per shard, used for shards that had no entries at the last read."""

_log = logging.getLogger("saldo.relay")


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """The limits of a relay; see the settings of the same names."""

    batch_events_max: int
    poll_seconds: float
    lease_seconds: float
    publish_timeout_seconds: float | None
    """Timeout of one batch; None if the sink has its own timeout."""


class OpenSpan(Protocol):
    """A function that traces the work inside a context as a span (`saldo.observability.tracing.Tracing.open_span`)."""

    def __call__(self, name: str, /, **attributes: Any) -> AbstractContextManager[None]: ...


def open_no_span(_: str, /, **__: Any) -> AbstractContextManager[None]:
    """Return a context that traces nothing."""
    return contextlib.nullcontext()


class Relay:
    """A relay of the log to one sink. It publishes while it holds the lease, and otherwise waits for the lease."""

    def __init__(
        self,
        sink: Sink,
        log: Log,
        sinks: Sinks,
        encoder: EventEncoder,
        limits: RelayLimits,
        open_span: OpenSpan = open_no_span,
        posting_activity: PostingActivity | None = None,
    ) -> None:
        """
        Args:
            open_span: traces each batch of events.
            posting_activity: the posting activity. The relay slows down while transactions are being posted. None means
                that posting always counts as active.
        """
        self._open_span = open_span
        self._posting_activity = posting_activity or PostingActivity(is_recorded=False)
        self._sink = sink
        self._log = log
        self._sinks = sinks
        self._encoder = encoder
        self._limits = limits
        self._holder = uuid4()
        self._woken = asyncio.Event()
        self._stop_requested = asyncio.Event()
        self._pace = CpuThrottle()
        self._backoff = BACKOFF_SECONDS_MIN
        self._leaving = False

    def wake(self) -> None:
        """Signal that the log may have new entries."""
        self._woken.set()

    def stop(self, *, leaving: bool = False) -> None:
        """Ask the relay to end, and return immediately. If the relay holds the lease and the sink accepts events, `run`
        first publishes the entries that the log has now.

        Args:
            leaving: whether to publish only the batch in flight, and leave the rest to the next relay.
        """
        self._leaving = leaving
        self._stop_requested.set()
        self._woken.set()

    @property
    def _is_stopping(self) -> bool:
        return self._stop_requested.is_set()

    async def run(self) -> None:
        """Run until the relay is stopped. After failures of the sink or the database, retry."""
        created = False
        while True:
            try:
                if not created:
                    await self._sinks.create(self._sink.name)
                    created = True
                lease = await self._sinks.acquire_lease(self._sink.name, self._holder)
                if lease is not None:
                    await self._relay_under_lease(lease)
                    return
                await self._pause(self._limits.lease_seconds / 3)
            except LeaseLostError:
                _log.warning("sink %s: another relay has taken the lease", self._sink.name)
            except (SinkError, StoreError) as error:
                _log.warning("sink %s: %s", self._sink.name, error)
                await self._back_off()
            except Exception:
                # The process goes on with its other relays, so this one must not end without a log line.
                _log.exception("sink %s: failed unexpectedly", self._sink.name)
                await self._back_off()
            if self._is_stopping:
                # The lease is not taken again, because another process may hold it already and continue from the
                # cursors.
                return

    async def _back_off(self) -> None:
        # Jitter prevents that the relays of many processes retry at the same time.
        await self._pause(self._backoff * random.uniform(0.5, 1))  # noqa: S311
        self._backoff = min(self._backoff * 2, BACKOFF_SECONDS_MAX)

    async def _relay_under_lease(self, lease: SinkLease) -> None:
        """Relay under the lease until the relay is stopped, fails, or loses the lease."""
        _log.info("sink %s: lease taken, epoch %d", lease.sink, lease.epoch)
        failure: str | None = None
        working = asyncio.create_task(self._publish_loop(lease), name=f"relay {lease.sink}")
        renewing = asyncio.create_task(self._renew_lease(lease), name=f"lease {lease.sink}")
        giving_up = asyncio.create_task(
            self._give_up_when_blocked(lease), name=f"stop {lease.sink}"
        )
        tasks = (renewing, working, giving_up)
        try:
            # All tasks are stopped when the first one ends, because a relay that has lost its lease must not go on
            # publishing.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        except SinkError as error:
            failure = str(error)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._sink.close()
            with contextlib.suppress(StoreError):
                await self._sinks.release_lease(lease, failure)

    async def _renew_lease(self, lease: SinkLease) -> None:
        logged_reason = None
        while True:
            await asyncio.sleep(self._limits.lease_seconds / 3)
            await self._sinks.move_cursors(lease, {})
            reason = await self._sink.get_blocked_reason()
            if reason is not None:
                await self._sinks.report_blocked(lease, reason)
            if reason != logged_reason:
                text = "no longer blocked" if reason is None else f"blocked: {reason}"
                _log.warning("sink %s: %s", lease.sink, text)
                logged_reason = reason

    async def _give_up_when_blocked(self, lease: SinkLease) -> None:
        """Return as soon as a stop is requested and the sink is blocked. The next relay publishes the rest."""
        await self._stop_requested.wait()
        while True:
            reason = await self._sink.get_blocked_reason()
            if reason is not None:
                _log.warning(
                    "sink %s: stopped before all events were published: %s", lease.sink, reason
                )
                return
            await asyncio.sleep(BLOCKED_POLL_SECONDS)

    async def _publish_loop(self, lease: SinkLease) -> None:
        await self._check_cursors(lease.positions)
        await self._sink.open(lease)
        positions = dict(lease.positions)
        busy: set[int] = set()
        while True:
            self._woken.clear()
            ending = self._is_stopping
            events = [
                self._encoder.encode(entry) for entry in await self._read(lease, positions, busy)
            ]
            if not events:
                if ending:
                    return
                await self._wait(self._limits.poll_seconds)
                continue
            busy = {event.shard for event in events}
            for batch in _split_into_batches(events, self._limits.batch_events_max):
                if self._leaving:
                    return
                with self._open_span("relay", sink=lease.sink, events=len(batch)):
                    await self._publish(lease, positions, batch)
                seconds = self._pace.compute_pause_seconds()
                if seconds > 0 and not self._is_stopping and self._posting_activity.is_recent:
                    await self._pause(seconds)

    async def _read(
        self, lease: SinkLease, positions: Positions, busy: set[int]
    ) -> list[LogEntry | Notice]:
        """Read about one batch of the next entries, mainly from the shards that had entries at the last read."""
        entries: list[LogEntry | Notice] = [
            *await self._read_log(lease, positions, busy - {NOTICES_SHARD})
        ]
        if NOTICES_SHARD in positions:
            entries += await self._log.list_notices_after(positions[NOTICES_SHARD], PER_SHARD_MIN)
        return entries

    async def _read_log(
        self, lease: SinkLease, positions: Positions, busy: set[int]
    ) -> list[LogEntry]:
        # The identity is compared at each read, because the pool reconnects silently, so that a failover would go
        # unnoticed.
        after = partial(self._log.list_entries_after, identity=lease.identity)
        positions = {shard: seq for shard, seq in positions.items() if shard != NOTICES_SHARD}
        if not busy:
            return await after(positions, PER_SHARD_MIN)
        per_shard = max(PER_SHARD_MIN, self._limits.batch_events_max // len(busy))
        entries = await after({shard: positions[shard] for shard in busy}, per_shard)
        idle = {shard: seq for shard, seq in positions.items() if shard not in busy}
        if idle:
            entries += await after(idle, PER_SHARD_MIN)
        return entries

    async def _publish(self, lease: SinkLease, positions: Positions, batch: list[Event]) -> None:
        try:
            async with asyncio.timeout(self._limits.publish_timeout_seconds):
                unrouted = await self._sink.publish(batch)
        except TimeoutError:
            seconds = self._limits.publish_timeout_seconds
            reason = await self._sink.get_blocked_reason()
            why = f"no confirmation in {seconds:g} s"
            raise SinkError(why if reason is None else f"blocked: {reason}; {why}") from None
        moved = {event.shard: event.seq for event in batch}
        await self._sinks.move_cursors(lease, moved, published=len(batch), unrouted=unrouted)
        positions.update(moved)
        self._backoff = BACKOFF_SECONDS_MIN

    async def _check_cursors(self, positions: Positions) -> None:
        """Check that no cursor is past the end of its shard.

        Otherwise the log has lost its last entries, and the relay would skip the new entries that get the same
        positions.

        Raises:
            SinkError: a cursor is past the end.
        """
        heads = await self._log.read_last_positions()
        ahead = [shard for shard, seq in positions.items() if seq > heads.get(shard, 0)]
        if ahead:
            raise SinkError(
                f"the cursors of {len(ahead)} shards are past the end of the log, because the database was restored to "
                f"an earlier state: choose a position with saldo relay rewind --sink {self._sink.name}"
            )

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    async def _pause(self, seconds: float) -> None:
        """Wait for this many seconds, even if entries are posted meanwhile. The wait ends early if the relay is
        stopped."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self._is_stopping and loop.time() < until:
            await self._wait(until - loop.time())


def _split_into_batches(events: list[Event], size: int) -> Iterable[list[Event]]:
    for begin in range(0, len(events), size):
        yield events[begin : begin + size]


@contextlib.asynccontextmanager
async def run_relays_until_exit(
    relays: list[Relay], shutdown_timeout_seconds: float
) -> AsyncIterator[None]:
    """Run the relays inside the block. At its end, let the relays publish the remaining entries and close their sinks,
    within the shutdown timeout."""
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        yield
    finally:
        closing_seconds = min(CLOSING_SECONDS, shutdown_timeout_seconds / 2)
        for relay in relays:
            relay.stop()
        if tasks:
            await asyncio.wait(tasks, timeout=shutdown_timeout_seconds - closing_seconds)
            for task in tasks:
                task.cancel()
            # Relays whose sinks don't close in time are abandoned, because their connections end with the process.
            await asyncio.wait(tasks, timeout=closing_seconds)
