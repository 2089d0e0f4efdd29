"""The live stream's hub: one reader at the tail of the log for all subscribers of this process.

It reads while there are subscribers, woken by this process's own posting and looking by itself for that of
others. An event is encoded once, however many get it, and not at all when nobody wants it. What a subscriber
has not taken yet waits in a bounded buffer; who doesn't keep up is cut off, and can resume.

The past is not the hub's: each subscriber reads it for itself (`saldo.relay.subscription`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeVar

from saldo.ledger.model import SHARDS, shard_of
from saldo.observability.metrics import EVENTS_CUT_OFF, EVENTS_SUBSCRIBERS
from saldo.relay import sse
from saldo.relay.events import EVENT_TYPES, Encoder, EventType, type_of
from saldo.relay.position import Position, epoch_of, write_position
from saldo.relay.subscription import Ending, Past, Subscription, Wanted
from saldo.store.errors import StoreError
from saldo.store.log import Log, LogEntry, LogPage, Positions

PAGE_ENTRIES = 2048
"""Of one look at the tail."""

PER_SHARD_MIN = 32
"""Entries that are asked for of each shard when little is known to be new."""

LOOK_SECONDS_MIN = 0.03
"""Between two looks at the tail: each costs the database about as much as a batch of posting does."""

SLICE_SUBSCRIBERS = 32
"""Who are handed something at once: to write to them takes some two milliseconds, in which nobody posts."""

STEP_BACK = 1.0
"""After each slice, the hub waits so many times as long as that took: half of the time at least is for posting."""

BACKOFF_SECONDS = 1.0
"""Between attempts to read a log that can't be read."""

Start = Literal["now", "start"] | datetime | Position
"""Where a subscription begins: only what comes; everything; what was recorded from then on; after a position."""

K = TypeVar("K")

_log = logging.getLogger("saldo.relay")


class TooManySubscribersError(Exception):
    """No more can be taken in now."""


class PositionGoneError(Exception):
    """The position is not in this log. The message says why, and what to do."""


class PositionOfOthersError(Exception):
    """The position is of a subscription to other users, and doesn't say where these are."""


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """The bounds of the live stream; see the settings of the same names."""

    subscribers_max: int
    buffer_bytes_max: int
    heartbeat_seconds: float
    poll_seconds: float


class Hub:
    """Takes subscribers in and hands out to them what comes."""

    def __init__(self, log: Log, encoder: Encoder, limits: LiveLimits) -> None:
        self._log = log
        self._encoder = encoder
        self._limits = limits
        self._past = Past(log, encoder)
        self._subscriptions: set[Subscription] = set()
        self._audience = _Audience()
        self._tail: asyncio.Task[None] | None = None
        self._epoch = b""
        self._positions: Positions | None = None
        self._handed_out: Positions = {}
        self._woken = asyncio.Event()
        self._looked = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """There may be something new in the log."""
        self._woken.set()

    async def subscribe(self, wanted: Wanted, start: Start) -> Subscription:
        """Takes a subscriber in. A context manager: leaving it ends the subscription.

        Raises:
            TooManySubscribersError, PositionGoneError, PositionOfOthersError: it can't be.
            StoreError: the database can't be read.
        """
        if self._stopping or len(self._subscriptions) >= self._limits.subscribers_max:
            raise TooManySubscribersError
        subscription = Subscription(
            self,
            self._past,
            wanted,
            buffer_bytes_max=self._limits.buffer_bytes_max,
            heartbeat_seconds=self._limits.heartbeat_seconds,
        )
        # Before the first wait: many may come at once.
        self._subscriptions.add(subscription)
        EVENTS_SUBSCRIBERS.inc()
        try:
            subscription.begin(*await self._place(wanted.shards, start))
        except BaseException:
            self.leave(subscription)
            raise
        if self._tail is None:
            self._tail = asyncio.create_task(self._work(), name="tail of the log")
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Ends a subscription, whatever state it is in."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._audience.discard(subscription)
            EVENTS_SUBSCRIBERS.dec()
        if not self._subscriptions and self._tail is not None:
            self._tail.cancel()
            self._tail = None
            self._positions = None

    def end(self, subscription: Subscription, ending: Ending) -> None:
        """Tells a subscriber that nothing more comes, and why."""
        self._audience.discard(subscription)
        if subscription.end(ending) and ending is Ending.TOO_SLOW:
            EVENTS_CUT_OFF.inc()

    def stop(self) -> None:
        """Ends all subscriptions, and takes no more in."""
        self._stopping = True
        for subscription in tuple(self._subscriptions):
            self.end(subscription, Ending.STOPPING)

    async def close(self) -> None:
        """Reads no more."""
        self.stop()
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tail

    async def reached(self, positions: Mapping[int, int], seconds: float) -> bool:
        """Waits, for at most so long, until the tail has been read at least to these positions."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._beyond(positions):
                    self._woken.set()
                    await self._looked.wait()
        return self._beyond(positions)

    def join(self, subscription: Subscription) -> Positions:
        """From here on a subscriber is handed what comes after the positions that this returns."""
        assert self._positions is not None
        self._audience.add(subscription)
        return {shard: self._positions[shard] for shard in subscription.wanted.shards}

    def handed_out(self, shard: int) -> int:
        """Up to where everybody has been handed everything; what is being handed out just now is not in it."""
        return self._handed_out.get(shard, 0)

    def _beyond(self, positions: Mapping[int, int]) -> bool:
        tail = self._positions
        return tail is not None and all(tail[shard] >= seq for shard, seq in positions.items())

    async def _place(self, shards: Sequence[int], start: Start) -> tuple[bytes, Positions]:
        """The log's epoch and the positions where a subscription begins."""
        heads = await self._log.heads()
        # After the heads: they are of this log, or of an earlier one that every position of this one is past.
        epoch = epoch_of(await self._log.identity())
        if isinstance(start, Position):
            return epoch, _resumed(start, epoch, shards, heads)
        if start == "start":
            return epoch, dict.fromkeys(shards, 0)
        positions = heads if start == "now" else await self._log.before(start)
        return epoch, {shard: positions[shard] for shard in shards}

    async def _work(self) -> None:
        """Follows the tail, whatever happens to the database."""
        while True:
            try:
                await self._begin()
                await self._follow()
            except StoreError as error:
                _log.warning("live stream: %s", error)
            except Exception:
                _log.exception("the live stream failed in a way nobody foresaw")
                # Some may have been handed what others have not: all begin again where they are.
                for subscription in tuple(self._subscriptions):
                    self.end(subscription, Ending.FAILED)
            await asyncio.sleep(BACKOFF_SECONDS)

    async def _begin(self) -> None:
        """Looks where the tail is; after an interruption, whether it is still the same log."""
        heads = await self._log.heads()
        epoch = epoch_of(await self._log.identity())
        if self._positions is None or epoch != self._epoch:
            self._end_other_epochs(epoch)
            self._epoch = epoch
            self._positions = {shard: heads[shard] for shard in ALL_SHARDS}
        self._handed_out = dict(self._positions)
        self._tell_looked()

    async def _follow(self) -> None:
        assert self._positions is not None
        loop = asyncio.get_running_loop()
        per_shard = PER_SHARD_MIN
        while True:
            self._woken.clear()
            began = loop.time()
            page = await self._log.page(self._positions, per_shard)
            if page.identity is not None and epoch_of(page.identity) != self._epoch:
                return
            await self._hand_out(page)
            if page.identity is not None:
                # Even when there is more: who is behind gets more at once.
                await asyncio.sleep(began + LOOK_SECONDS_MIN - loop.time())
            if page.left:
                per_shard = max(PER_SHARD_MIN, PAGE_ENTRIES // len(page.left))
                continue
            per_shard = PER_SHARD_MIN
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.poll_seconds):
                    await self._woken.wait()

    async def _hand_out(self, page: LogPage) -> None:
        """Gives a page to everybody whom it concerns."""
        assert self._positions is not None
        # Who joins from here on gets what comes after this page.
        self._positions.update(page.reached)
        chunk = _Chunk(page.entries, self._encoder, self._epoch, dict(self._positions))
        self._tell_looked()
        for given, (subscription, payload) in enumerate(self._audience.payloads(chunk), start=1):
            if not subscription.offer(payload):
                self.end(subscription, Ending.TOO_SLOW)
            if given % SLICE_SUBSCRIBERS == 0:
                await _step_back()
        self._handed_out.update(page.reached)
        await _step_back()

    def _tell_looked(self) -> None:
        self._looked.set()
        self._looked = asyncio.Event()

    def _end_other_epochs(self, epoch: bytes) -> None:
        for subscription in tuple(self._subscriptions):
            if subscription.epoch not in {b"", epoch}:
                self.end(subscription, Ending.OTHER_LOG)


async def _step_back() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    # They write in the turn after this one, and the transports in the one after that.
    for _ in range(3):
        await asyncio.sleep(0)
    await asyncio.sleep((loop.time() - began) * STEP_BACK)


class _Audience:
    """The subscribers at the tail, found by what they want."""

    def __init__(self) -> None:
        self._of_all: dict[frozenset[EventType], set[Subscription]] = {}
        self._of_user: dict[int, set[Subscription]] = {}

    def add(self, subscription: Subscription) -> None:
        wanted = subscription.wanted
        if wanted.users is None:
            self._of_all.setdefault(wanted.types, set()).add(subscription)
        for user_id in wanted.users or ():
            self._of_user.setdefault(user_id, set()).add(subscription)

    def discard(self, subscription: Subscription) -> None:
        wanted = subscription.wanted
        if wanted.users is None:
            _discard(self._of_all, wanted.types, subscription)
        for user_id in wanted.users or ():
            _discard(self._of_user, user_id, subscription)

    def payloads(self, chunk: _Chunk) -> list[tuple[Subscription, bytes]]:
        """What each of them gets of a chunk; those who get nothing are not listed."""
        found: list[tuple[Subscription, bytes]] = []
        for types, subscriptions in self._of_all.items():
            payload = chunk.payload(chunk.indexes(types), ALL_SHARDS)
            if payload:
                found += [(subscription, payload) for subscription in subscriptions]
        if self._of_user:
            found += [
                (subscription, chunk.payload(indexes, subscription.wanted.shards))
                for subscription, indexes in self._of_users(chunk).items()
            ]
        return found

    def _of_users(self, chunk: _Chunk) -> dict[Subscription, list[int]]:
        found: dict[Subscription, list[int]] = {}
        for index, entry in enumerate(chunk.entries):
            for subscription in self._of_user.get(entry.user_id, ()):
                if type_of(entry) in subscription.wanted.types:
                    found.setdefault(subscription, []).append(index)
        return found


ALL_SHARDS: Final = tuple(range(SHARDS))


class _Chunk:
    """What was read together. Each event is encoded when the first subscriber wants it, and only then."""

    def __init__(
        self, entries: list[LogEntry], encoder: Encoder, epoch: bytes, positions: Positions
    ) -> None:
        """
        Args:
            positions: up to which everything is in this chunk or was in one before it.
        """
        self.entries = entries
        self._encoder = encoder
        self._epoch = epoch
        self._positions = positions
        self._frames: dict[int, bytes] = {}

    def indexes(self, types: frozenset[EventType]) -> Sequence[int]:
        """Which entries are of these types."""
        if len(types) == len(EVENT_TYPES):
            return range(len(self.entries))
        return [index for index, entry in enumerate(self.entries) if type_of(entry) in types]

    def payload(self, indexes: Sequence[int], shards: Iterable[int]) -> bytes:
        """Those events, and the id of these shards; nothing if there are none."""
        if not indexes:
            return b""
        positions = {shard: self._positions[shard] for shard in shards}
        frames = [self._frame(index) for index in indexes]
        return sse.joined(frames, write_position(self._epoch, positions))

    def _frame(self, index: int) -> bytes:
        frame = self._frames.get(index)
        if frame is None:
            frame = sse.frame(self._encoder.event(self.entries[index]))
            self._frames[index] = frame
        return frame


def shards_of(users: Iterable[int] | None) -> tuple[int, ...]:
    """The shards that hold these users; None: all users."""
    return ALL_SHARDS if users is None else tuple(sorted({shard_of(user) for user in users}))


def _discard(audience: dict[K, set[Subscription]], key: K, subscription: Subscription) -> None:
    found = audience.get(key)
    if found is not None:
        found.discard(subscription)
        if not found:
            del audience[key]


def _resumed(
    start: Position, epoch: bytes, shards: Sequence[int], heads: Mapping[int, int]
) -> Positions:
    """The positions of an id that a client gives back.

    Raises:
        PositionGoneError, PositionOfOthersError: they are none of this log, or not enough.
    """
    if start.epoch != epoch:
        raise PositionGoneError(
            "The id is of another log: the database has been restored or failed over since it was given."
        )
    if not set(shards) <= set(start.positions):
        raise PositionOfOthersError
    positions = {shard: start.positions[shard] for shard in shards}
    if any(seq > heads[shard] for shard, seq in positions.items()):
        raise PositionGoneError(
            "The id is past the end of the log: the database has been restored to an earlier state."
        )
    return positions
