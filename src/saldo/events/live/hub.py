"""The hub of the live stream: one reader at the tail of the log for all subscribers of this process.

The hub reads while there are subscribers. Posting in this process wakes it, and it polls for entries of other
processes. Each event is encoded once for all subscribers, and not at all if nobody wants it. Events that a subscriber
has not read yet wait in a bounded buffer. A subscriber that doesn't keep up is disconnected, and can resume.

The hub does not read past entries: each subscriber reads them itself (`saldo.events.live.subscription`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeVar

from saldo.events import sse
from saldo.events.event import EVENT_TYPES, EventEncoder, EventType, get_event_type
from saldo.events.live.subscription import EndReason, EventFilter, LiveSubscription, PastReader
from saldo.events.position import LogPosition, derive_epoch, format_position
from saldo.ledger.model import SHARDS, compute_shard
from saldo.observability.metrics import EVENTS_CUT_OFF, EVENTS_SUBSCRIBERS
from saldo.store.errors import StoreError
from saldo.store.log import Log, LogEntry, LogPage, Positions

PAGE_ENTRIES = 2048
"""Approximate maximum number of entries per read of the tail."""

PER_SHARD_MIN = 32
"""Number of entries requested per shard if few are known to be new."""

READ_INTERVAL_SECONDS_MIN = 0.03
"""Minimum interval between two reads of the tail. Each read costs the database about as much as posting a batch."""

SLICE_SUBSCRIBERS = 32
"""Number of subscribers that are served in one slice. A slice takes some two milliseconds, in which nothing is
posted."""

STEP_BACK = 1.0
"""Pause after each slice, as a multiple of its duration. At least half of the time is left for posting."""

BACKOFF_SECONDS = 1.0
"""Pause between attempts to read the log after a failure."""

Start = Literal["now", "start"] | datetime | LogPosition
"""Start of a subscription: new entries only, all entries, entries recorded since a time, or entries after a
position."""

K = TypeVar("K")

_log = logging.getLogger("saldo.relay")


class TooManySubscribersError(Exception):
    """Raised when no further subscriber is accepted, because there are too many or the hub is stopping."""


class PositionGoneError(Exception):
    """Raised when the position is not in this log. The message gives the reason and what to do."""


class PositionScopeMismatchError(Exception):
    """Raised when the position is from a subscription to other users, and lacks shards of the requested users."""


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """The limits of the live stream; see the settings of the same names."""

    subscribers_max: int
    buffer_bytes_max: int
    heartbeat_seconds: float
    poll_seconds: float


class Hub:
    """The hub, which accepts subscribers and delivers new events to them."""

    def __init__(self, log: Log, encoder: EventEncoder, limits: LiveLimits) -> None:
        self._log = log
        self._encoder = encoder
        self._limits = limits
        self._past = PastReader(log, encoder)
        self._subscriptions: set[LiveSubscription] = set()
        self._tail_subscribers = _SubscriberIndex()
        self._tail: asyncio.Task[None] | None = None
        self._epoch = b""
        self._positions: Positions | None = None
        self._delivered: Positions = {}
        self._woken = asyncio.Event()
        self._progress_made = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Signal that the log may have new entries."""
        self._woken.set()

    async def subscribe(self, event_filter: EventFilter, start: Start) -> LiveSubscription:
        """Add a subscriber. The subscription is a context manager; leaving it removes the subscriber.

        Raises:
            TooManySubscribersError: no further subscriber is accepted.
            PositionGoneError, PositionScopeMismatchError: the start position can't be used.
            StoreError: the database can't be read.
        """
        if self._stopping or len(self._subscriptions) >= self._limits.subscribers_max:
            raise TooManySubscribersError
        subscription = LiveSubscription(
            self,
            self._past,
            event_filter,
            buffer_bytes_max=self._limits.buffer_bytes_max,
            heartbeat_seconds=self._limits.heartbeat_seconds,
        )
        # The subscriber is counted before the first await, because many may subscribe at the same time.
        self._subscriptions.add(subscription)
        EVENTS_SUBSCRIBERS.inc()
        try:
            subscription.begin(*await self._resolve_start_positions(event_filter.shards, start))
        except BaseException:
            self.leave(subscription)
            raise
        if self._tail is None:
            self._tail = asyncio.create_task(self._run(), name="event hub")
        return subscription

    def leave(self, subscription: LiveSubscription) -> None:
        """Remove a subscription, in any state."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._tail_subscribers.discard(subscription)
            EVENTS_SUBSCRIBERS.dec()
        if not self._subscriptions and self._tail is not None:
            self._tail.cancel()
            self._tail = None
            self._positions = None

    def end(self, subscription: LiveSubscription, reason: EndReason) -> None:
        """End a subscriber's stream. The reason is sent to the subscriber."""
        self._tail_subscribers.discard(subscription)
        if subscription.end(reason) and reason is EndReason.TOO_SLOW:
            EVENTS_CUT_OFF.inc()

    def stop(self) -> None:
        """End all subscriptions, and accept no more."""
        self._stopping = True
        for subscription in tuple(self._subscriptions):
            self.end(subscription, EndReason.STOPPING)

    async def close(self) -> None:
        """End all subscriptions, and stop reading."""
        self.stop()
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tail

    async def wait_until_read(self, positions: Mapping[int, int], seconds: float) -> bool:
        """Wait until the tail has been read up to these positions. Return False if the time is over before."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._has_read(positions):
                    self._woken.set()
                    await self._progress_made.wait()
        return self._has_read(positions)

    def add_to_tail(self, subscription: LiveSubscription) -> Positions:
        """Add a subscriber to the tail, and return the positions after which the hub delivers entries to it."""
        assert self._positions is not None
        self._tail_subscribers.add(subscription)
        return {shard: self._positions[shard] for shard in subscription.event_filter.shards}

    def get_delivered_seq(self, shard: int) -> int:
        """Return the `seq` of a shard up to which all subscribers have been served. A page that is being delivered is
        excluded."""
        return self._delivered.get(shard, 0)

    def _has_read(self, positions: Mapping[int, int]) -> bool:
        tail = self._positions
        return tail is not None and all(tail[shard] >= seq for shard, seq in positions.items())

    async def _resolve_start_positions(
        self, shards: Sequence[int], start: Start
    ) -> tuple[bytes, Positions]:
        """Return the epoch of the log, and the positions at which a subscription starts."""
        identity, last_positions = await self._log.read_end()
        epoch = derive_epoch(identity)
        if isinstance(start, LogPosition):
            return epoch, _resolve_resume_positions(start, epoch, shards, last_positions)
        if start == "start":
            return epoch, dict.fromkeys(shards, 0)
        positions = last_positions if start == "now" else await self._log.find_positions_at(start)
        return epoch, {shard: positions[shard] for shard in shards}

    async def _run(self) -> None:
        """Follow the tail until cancelled. After a failure of the database, begin again."""
        # The driver can turn a cancellation into an error of its own. A cancelled task is recognized by the fact that
        # it is no longer the tail.
        while self._tail is asyncio.current_task():
            try:
                await self._find_tail()
                await self._follow_tail()
            except StoreError as error:
                _log.warning("live stream: %s", error)
            except Exception:
                _log.exception("the live stream failed unexpectedly")
                # Some subscribers may have been served and others not. All streams are ended, so that each client
                # resumes from its own position.
                for subscription in tuple(self._subscriptions):
                    self.end(subscription, EndReason.FAILED)
            await asyncio.sleep(BACKOFF_SECONDS)

    async def _find_tail(self) -> None:
        """Find the tail, and after an interruption check that the log is still the same."""
        identity, last_positions = await self._log.read_end()
        epoch = derive_epoch(identity)
        if self._positions is None or epoch != self._epoch:
            self._end_other_epochs(epoch)
            self._epoch = epoch
            self._positions = {shard: last_positions[shard] for shard in ALL_SHARDS}
        self._delivered = dict(self._positions)
        self._signal_progress()

    async def _follow_tail(self) -> None:
        assert self._positions is not None
        loop = asyncio.get_running_loop()
        per_shard = PER_SHARD_MIN
        while True:
            self._woken.clear()
            began = loop.time()
            page = await self._log.read_page(self._positions, per_shard)
            if page.identity is not None and derive_epoch(page.identity) != self._epoch:
                return
            await self._deliver(page)
            if page.identity is not None:
                # The pause also applies if the log has more entries. Subscribers that are behind then get larger
                # payloads.
                await asyncio.sleep(began + READ_INTERVAL_SECONDS_MIN - loop.time())
            if page.shards_with_more:
                per_shard = max(PER_SHARD_MIN, PAGE_ENTRIES // len(page.shards_with_more))
                continue
            per_shard = PER_SHARD_MIN
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.poll_seconds):
                    await self._woken.wait()

    async def _deliver(self, page: LogPage) -> None:
        """Deliver a page to all subscribers that want some of its events."""
        assert self._positions is not None
        # Subscribers that join from now on get the entries after this page.
        self._positions.update(page.reached)
        encoded_page = _EncodedPage(page.entries, self._encoder, self._epoch, dict(self._positions))
        self._signal_progress()
        for number, (subscription, payload) in enumerate(
            self._tail_subscribers.build_payloads(encoded_page), start=1
        ):
            if not subscription.offer(payload):
                self.end(subscription, EndReason.TOO_SLOW)
            if number % SLICE_SUBSCRIBERS == 0:
                await _yield_to_posting()
        self._delivered.update(page.reached)
        await _yield_to_posting()

    def _signal_progress(self) -> None:
        self._progress_made.set()
        self._progress_made = asyncio.Event()

    def _end_other_epochs(self, epoch: bytes) -> None:
        for subscription in tuple(self._subscriptions):
            if subscription.epoch not in {b"", epoch}:
                self.end(subscription, EndReason.OTHER_LOG)


async def _yield_to_posting() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    # The subscribers write in the next iteration of the event loop, and the transports in the one after it.
    for _ in range(3):
        await asyncio.sleep(0)
    await asyncio.sleep((loop.time() - began) * STEP_BACK)


class _SubscriberIndex:
    """An index of the subscribers at the tail by their filters."""

    def __init__(self) -> None:
        self._subscribers_by_types: dict[frozenset[EventType], set[LiveSubscription]] = {}
        self._subscribers_by_user: dict[int, set[LiveSubscription]] = {}

    def add(self, subscription: LiveSubscription) -> None:
        event_filter = subscription.event_filter
        if event_filter.users is None:
            self._subscribers_by_types.setdefault(event_filter.types, set()).add(subscription)
        for user_id in event_filter.users or ():
            self._subscribers_by_user.setdefault(user_id, set()).add(subscription)

    def discard(self, subscription: LiveSubscription) -> None:
        event_filter = subscription.event_filter
        if event_filter.users is None:
            _discard(self._subscribers_by_types, event_filter.types, subscription)
        for user_id in event_filter.users or ():
            _discard(self._subscribers_by_user, user_id, subscription)

    def build_payloads(self, page: _EncodedPage) -> list[tuple[LiveSubscription, bytes]]:
        """Return the subscribers that want events of a page, each with its payload."""
        found: list[tuple[LiveSubscription, bytes]] = []
        for types, subscriptions in self._subscribers_by_types.items():
            payload = page.build_payload(page.find_indexes(types), ALL_SHARDS)
            if payload:
                found += [(subscription, payload) for subscription in subscriptions]
        if self._subscribers_by_user:
            found += [
                (subscription, page.build_payload(indexes, subscription.event_filter.shards))
                for subscription, indexes in self._find_indexes_by_subscriber(page).items()
            ]
        return found

    def _find_indexes_by_subscriber(self, page: _EncodedPage) -> dict[LiveSubscription, list[int]]:
        found: dict[LiveSubscription, list[int]] = {}
        for index, entry in enumerate(page.entries):
            for subscription in self._subscribers_by_user.get(entry.user_id, ()):
                if get_event_type(entry) in subscription.event_filter.types:
                    found.setdefault(subscription, []).append(index)
        return found


ALL_SHARDS: Final = tuple(range(SHARDS))


class _EncodedPage:
    """A page of the log with its encoded events. Each event is encoded when the first subscriber wants it."""

    def __init__(
        self, entries: list[LogEntry], encoder: EventEncoder, epoch: bytes, positions: Positions
    ) -> None:
        """
        Args:
            positions: the positions up to which all entries are in this page or in earlier ones.
        """
        self.entries = entries
        self._encoder = encoder
        self._epoch = epoch
        self._positions = positions
        self._frames: dict[int, bytes] = {}

    def find_indexes(self, types: frozenset[EventType]) -> Sequence[int]:
        """Return the indexes of the entries of these types."""
        if len(types) == len(EVENT_TYPES):
            return range(len(self.entries))
        return [index for index, entry in enumerate(self.entries) if get_event_type(entry) in types]

    def build_payload(self, indexes: Sequence[int], shards: Iterable[int]) -> bytes:
        """Return the frames of these entries with the id for these shards; empty if there are no entries."""
        if not indexes:
            return b""
        positions = {shard: self._positions[shard] for shard in shards}
        frames = [self._get_frame(index) for index in indexes]
        return sse.join_frames(frames, format_position(self._epoch, positions))

    def _get_frame(self, index: int) -> bytes:
        frame = self._frames.get(index)
        if frame is None:
            frame = sse.format_frame(self._encoder.encode(self.entries[index]))
            self._frames[index] = frame
        return frame


def compute_shards(users: Iterable[int] | None) -> tuple[int, ...]:
    """Return the shards of these users; None means all users."""
    return ALL_SHARDS if users is None else tuple(sorted({compute_shard(user) for user in users}))


def _discard(index: dict[K, set[LiveSubscription]], key: K, subscription: LiveSubscription) -> None:
    found = index.get(key)
    if found is not None:
        found.discard(subscription)
        if not found:
            del index[key]


def _resolve_resume_positions(
    start: LogPosition, epoch: bytes, shards: Sequence[int], last_positions: Mapping[int, int]
) -> Positions:
    """Return the start positions for an id from which a client resumes.

    Raises:
        PositionGoneError: the id is not of this log, or is past its end.
        PositionScopeMismatchError: the id lacks some of the shards.
    """
    if start.epoch != epoch:
        raise PositionGoneError(
            "The id is from another log: the database was restored or has failed over since the id was sent."
        )
    if not set(shards) <= set(start.positions):
        raise PositionScopeMismatchError
    positions = {shard: start.positions[shard] for shard in shards}
    if any(seq > last_positions[shard] for shard, seq in positions.items()):
        raise PositionGoneError(
            "The id is past the end of the log: the database was restored to an earlier state."
        )
    return positions
