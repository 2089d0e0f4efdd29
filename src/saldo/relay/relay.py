"""The relay of one sink: takes the lease, reads the log after the cursors, publishes, moves the cursors.

A cursor moves only after the sink has confirmed, so nothing is lost whoever dies; what was confirmed and
not yet moved is published again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from saldo.relay.events import Encoder, Event
from saldo.relay.pace import Beside, Pace
from saldo.relay.sink import Sink, SinkError
from saldo.store.errors import StoreError
from saldo.store.log import NOTICES_SHARD, Log, LogEntry, Notice, Positions
from saldo.store.sinks import FencedError, Lease, Sinks

BACKOFF_SECONDS_MIN = 0.2
BACKOFF_SECONDS_MAX = 30.0
"""Between attempts to reach a sink that is down: soon after it is back, without storming it."""

PER_SHARD_MIN = 16
"""Entries that are asked for of a shard that had none the last time."""

_log = logging.getLogger("saldo.relay")


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """The bounds of a relay; see the settings of the same names."""

    batch_events_max: int
    poll_seconds: float
    lease_seconds: float
    publish_timeout_seconds: float | None
    """None: the sink bounds it."""


class Span(Protocol):
    """Makes a span of what is done inside (`saldo.observability.tracing.Tracing.span`)."""

    def __call__(self, name: str, /, **attributes: Any) -> AbstractContextManager[None]: ...


def no_span(_: str, /, **__: Any) -> AbstractContextManager[None]:
    """Nothing is traced."""
    return contextlib.nullcontext()


class Relay:
    """Relays the log to one sink, as long as it has the lease; waits for it otherwise."""

    def __init__(
        self,
        sink: Sink,
        log: Log,
        sinks: Sinks,
        encoder: Encoder,
        limits: RelayLimits,
        span: Span = no_span,
        beside: Beside | None = None,
    ) -> None:
        """
        Args:
            span: what a batch of events is done inside of.
            beside: whom it steps back for; None: for whoever may post.
        """
        self._span = span
        self._beside = beside or Beside(told=False)
        self._sink = sink
        self._log = log
        self._sinks = sinks
        self._encoder = encoder
        self._limits = limits
        self._holder = uuid4()
        self._woken = asyncio.Event()
        self._stopping = False
        self._pace = Pace()
        self._backoff = BACKOFF_SECONDS_MIN
        self._leaving = False

    def wake(self) -> None:
        """There may be something new in the log."""
        self._woken.set()

    def stop(self, *, leaving: bool = False) -> None:
        """Publishes what is there, if the sink is there, then ends.

        Args:
            leaving: only what is being published already: the rest is for whoever comes next.
        """
        self._stopping = True
        self._leaving = leaving
        self._woken.set()

    async def run(self) -> None:
        """Works until it is stopped, whatever happens to the sink and the database."""
        created = False
        ended = False
        while not ended:
            ended = self._stopping
            try:
                if not created:
                    await self._sinks.create(self._sink.name)
                    created = True
                lease = await self._sinks.take(self._sink.name, self._holder)
                if lease is not None:
                    await self._hold(lease)
                    return
                await self._pause(self._limits.lease_seconds / 3)
            except FencedError:
                _log.warning("sink %s: another relay has taken over", self._sink.name)
            except (SinkError, StoreError) as error:
                _log.warning("sink %s: %s", self._sink.name, error)
                await self._back_off()
            except Exception:
                # The process lives on with its other relays: this one must not be gone without a word.
                _log.exception("sink %s: failed in a way nobody foresaw", self._sink.name)
                await self._back_off()

    async def _back_off(self) -> None:
        # Jitter, so that the relays of many processes don't come back all at once.
        await self._pause(self._backoff * random.uniform(0.5, 1))  # noqa: S311
        self._backoff = min(self._backoff * 2, BACKOFF_SECONDS_MAX)

    async def _hold(self, lease: Lease) -> None:
        """Relays under the lease until the end, a failure, or another holder."""
        _log.info("sink %s: relaying, epoch %d", lease.sink, lease.epoch)
        failure: str | None = None
        working = asyncio.create_task(self._work(lease), name=f"relay {lease.sink}")
        renewing = asyncio.create_task(self._renew(lease), name=f"lease {lease.sink}")
        try:
            # Whichever ends first: a fenced relay must not go on publishing.
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            for task in (renewing, working):
                if task.done():
                    task.result()
        except SinkError as error:
            failure = str(error)
            raise
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)
            await self._sink.close()
            with contextlib.suppress(StoreError):
                await self._sinks.release(lease, failure)

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._limits.lease_seconds / 3)
            await self._sinks.move(lease, {})

    async def _work(self, lease: Lease) -> None:
        await self._check(lease.positions)
        await self._sink.open(lease)
        positions = dict(lease.positions)
        busy: set[int] = set()
        while True:
            self._woken.clear()
            ending = self._stopping
            events = [self._encoder.event(entry) for entry in await self._read(positions, busy)]
            if not events:
                if ending:
                    return
                await self._wait(self._limits.poll_seconds)
                continue
            busy = {event.shard for event in events}
            for batch in _batches(events, self._limits.batch_events_max):
                if self._leaving:
                    return
                with self._span("relay", sink=lease.sink, events=len(batch)):
                    await self._publish(lease, positions, batch)
                seconds = self._pace.rest_seconds()
                if seconds > 0 and not self._stopping and self._beside.posting:
                    await self._pause(seconds)

    async def _read(self, positions: Positions, busy: set[int]) -> list[LogEntry | Notice]:
        """What comes next: of the shards that had some the last time, together, about one batch."""
        found: list[LogEntry | Notice] = [*await self._read_log(positions, busy - {NOTICES_SHARD})]
        if NOTICES_SHARD in positions:
            found += await self._log.notices_after(positions[NOTICES_SHARD], PER_SHARD_MIN)
        return found

    async def _read_log(self, positions: Positions, busy: set[int]) -> list[LogEntry]:
        positions = {shard: seq for shard, seq in positions.items() if shard != NOTICES_SHARD}
        if not busy:
            return await self._log.after(positions, PER_SHARD_MIN)
        per_shard = max(PER_SHARD_MIN, self._limits.batch_events_max // len(busy))
        entries = await self._log.after({shard: positions[shard] for shard in busy}, per_shard)
        idle = {shard: seq for shard, seq in positions.items() if shard not in busy}
        if idle:
            entries += await self._log.after(idle, PER_SHARD_MIN)
        return entries

    async def _publish(self, lease: Lease, positions: Positions, batch: list[Event]) -> None:
        try:
            async with asyncio.timeout(self._limits.publish_timeout_seconds):
                unrouted = await self._sink.publish(batch)
        except TimeoutError:
            seconds = self._limits.publish_timeout_seconds
            raise SinkError(f"no confirmation in {seconds:g} s") from None
        moved = {event.shard: event.seq for event in batch}
        await self._sinks.move(lease, moved, published=len(batch), unrouted=unrouted)
        positions.update(moved)
        self._backoff = BACKOFF_SECONDS_MIN

    async def _check(self, positions: Positions) -> None:
        """A cursor past the head: the log has lost its tail, and would be passed over as it grows again."""
        heads = await self._log.heads()
        ahead = [shard for shard, seq in positions.items() if seq > heads.get(shard, 0)]
        if ahead:
            raise SinkError(
                f"the cursors of {len(ahead)} shards are past the end of the log: it has been restored to an "
                f"earlier state; choose where to go on with saldo relay rewind --sink {self._sink.name}"
            )

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    async def _pause(self, seconds: float) -> None:
        """Waits whatever is posted meanwhile; a stop ends it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self._stopping and loop.time() < until:
            await self._wait(until - loop.time())


def _batches(events: list[Event], size: int) -> Iterable[list[Event]]:
    for begin in range(0, len(events), size):
        yield events[begin : begin + size]


@contextlib.asynccontextmanager
async def relaying(relays: list[Relay], stop_seconds: float) -> AsyncIterator[None]:
    """All of them at work; at the end each publishes what is there, for at most so long."""
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        yield
    finally:
        for relay in relays:
            relay.stop()
        if tasks:
            await asyncio.wait(tasks, timeout=stop_seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
