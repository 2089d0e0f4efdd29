"""A subscriber of the live stream: it reads past entries from its own position, and then joins the tail.

Nothing is lost or delivered twice. The subscriber reads pages of the log until it reaches the end, and waits until the
hub has read at least as far. Then the subscriber joins the tail: the hub delivers all entries after the hub's current
position to it. Finally the subscriber reads the entries between its own position and the position at which it joined.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from saldo.events import sse
from saldo.events.event import EVENT_TYPES, EventEncoder, EventType
from saldo.events.position import derive_epoch, format_position
from saldo.store.errors import StoreError
from saldo.store.log import Log, LogPage, Positions

PAGE_ENTRIES = 512
"""Number of past entries per page, which limits the encoding time (some milliseconds) and a subscriber's memory."""

SEARCH_ENTRIES_MAX = 8192
"""Maximum number of entries scanned for a page, if few of them match."""

STEP_BACK = 1.0
"""Pause after a page of past entries was encoded, as a multiple of the encoding time."""

PIECE_BYTES = 64 * 1024
"""Approximate size in bytes of the pieces in which buffered payloads are sent. A piece contains whole payloads, each
with its own id."""

BACKOFF_SECONDS = 1.0
"""Pause between attempts to read the log after a failure."""

_log = logging.getLogger("saldo.relay")


class EndReason(Enum):
    """The reason why a stream ends. Its value is the text that the client gets."""

    TOO_SLOW = "too slow; resume with Last-Event-ID"
    STOPPING = "the service is stopping; resume with Last-Event-ID"
    OTHER_LOG = "the database was restored or has failed over; begin again with from="
    KEY_INVALID = "the key is no longer valid"
    FAILED = "a fault of ours; resume with Last-Event-ID"


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The filter of a subscriber.

    Attributes:
        users: the users; None means all.
        types: the types of events.
        shards: the shards of the users.
    """

    users: frozenset[int] | None
    types: frozenset[EventType]
    shards: tuple[int, ...]

    @property
    def kinds(self) -> list[int] | None:
        """The types as numbers for `Log.read_page`; None means all."""
        if len(self.types) == len(EVENT_TYPES):
            return None
        return [number for number, name in enumerate(EVENT_TYPES) if name in self.types]


class SubscriptionHub(Protocol):
    """The interface of the hub that a subscription uses. It is implemented by `saldo.events.live.hub.Hub`."""

    async def wait_until_read(self, positions: Mapping[int, int], seconds: float) -> bool: ...
    def add_to_tail(self, subscription: LiveSubscription) -> Positions: ...
    def get_delivered_seq(self, shard: int) -> int: ...
    def end(self, subscription: LiveSubscription, reason: EndReason) -> None: ...
    def leave(self, subscription: LiveSubscription) -> None: ...


class PastReader:
    """A reader of past entries for all subscribers. It reads one page at a time, so that posting is not delayed."""

    def __init__(self, log: Log, encoder: EventEncoder) -> None:
        self._log = log
        self._encoder = encoder
        self._turn = asyncio.Lock()

    async def read_page(
        self, positions: Positions, entries: int, until: Positions | None, event_filter: EventFilter
    ) -> tuple[LogPage, list[bytes]]:
        """Scan about `entries` entries after the positions, and return the page and the frames of the matching entries.

        Raises:
            StoreError: the database can't be read.
        """
        loop = asyncio.get_running_loop()
        users = None if event_filter.users is None else sorted(event_filter.users)
        per_shard = max(1, entries // len(positions))
        async with self._turn:
            page = await self._log.read_page(
                positions, per_shard, until=until, users=users, kinds=event_filter.kinds
            )
            began = loop.time()
            frames = [sse.format_frame(self._encoder.encode(entry)) for entry in page.entries]
            await asyncio.sleep((loop.time() - began) * STEP_BACK)
        return page, frames


class LiveSubscription:
    """A subscriber's position in the log and its buffer. It is a context manager."""

    def __init__(
        self,
        tail: SubscriptionHub,
        past: PastReader,
        event_filter: EventFilter,
        *,
        buffer_bytes_max: int,
        heartbeat_seconds: float,
    ) -> None:
        self.event_filter = event_filter
        self.epoch = b""
        self.ended: asyncio.Future[EndReason] = asyncio.get_running_loop().create_future()
        self._tail = tail
        self._past = past
        self._buffer_bytes_max = buffer_bytes_max
        self._heartbeat_seconds = heartbeat_seconds
        self._positions: Positions = {}
        self._until: Positions | None = None
        self._left: set[int] = set(event_filter.shards)
        self._entries = PAGE_ENTRIES
        self._buffer: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._filled = asyncio.Event()
        self._step: Callable[[float], Awaitable[bytes]] = self._read_past

    def __enter__(self) -> LiveSubscription:
        return self

    def __exit__(self, *_: object) -> None:
        self._tail.leave(self)

    def begin(self, epoch: bytes, positions: Positions) -> None:
        """Set the position from which the subscription starts."""
        self.epoch = epoch
        self._positions = positions

    @property
    def position_frame(self) -> bytes:
        """The frame that sets the client's id. It is sent after the payload that `next` returned last.

        After the end of the subscription, the frame is a comment and sets no id, because the buffer was discarded."""
        if self.ended.done():
            return sse.format_comment("ended")
        positions = self._positions
        if self._step == self._take_buffered and not self._buffer:
            positions = {
                shard: max(seq, self._tail.get_delivered_seq(shard))
                for shard, seq in positions.items()
            }
        return sse.format_position_frame(format_position(self.epoch, positions))

    def offer(self, payload: bytes) -> bool:
        """Add a payload to the buffer; return False if the buffer is full."""
        if self._buffered_bytes > self._buffer_bytes_max:
            return False
        self._buffer.append(payload)
        self._buffered_bytes += len(payload)
        self._filled.set()
        return True

    def end(self, reason: EndReason) -> bool:
        """End the subscription, and return False if it had ended before."""
        self._buffer.clear()
        if self.ended.done():
            return False
        self.ended.set_result(reason)
        return True

    async def next(self) -> bytes:
        """Wait for the next payload: events, or a heartbeat with the current id."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._heartbeat_seconds
        while (seconds := due - loop.time()) > 0:
            payload = await self._step(seconds)
            if payload:
                return payload
        return self.position_frame

    async def _read_past(self, _: float) -> bytes:
        """Read the next page of past entries. If it reaches the end of the log, the next step is to join the tail."""
        payload = await self._read_page(None)
        if not self._left:
            self._step = self._join_tail
        return payload

    async def _join_tail(self, seconds: float) -> bytes:
        if await self._tail.wait_until_read(self._positions, seconds):
            self._until = self._tail.add_to_tail(self)
            self._left = set(self.event_filter.shards)
            self._step = self._read_rest
        return b""

    async def _read_rest(self, _: float) -> bytes:
        """Read the entries between this subscriber's position and the position at which it joined the hub."""
        assert self._until is not None
        if self._positions == self._until:
            self._step = self._take_buffered
            return b""
        return await self._read_page(self._until)

    async def _take_buffered(self, seconds: float) -> bytes:
        if not self._buffer:
            self._filled.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._filled.wait()
        pieces: list[bytes] = []
        size = 0
        while self._buffer and size < PIECE_BYTES:
            pieces.append(self._buffer.popleft())
            size += len(pieces[-1])
        self._buffered_bytes -= size
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _read_page(self, until: Positions | None) -> bytes:
        """Read a page of past entries, and advance the position past all scanned entries."""
        positions = {shard: self._positions[shard] for shard in self._left}
        try:
            page, frames = await self._past.read_page(
                positions, self._entries, until, self.event_filter
            )
        except StoreError as error:
            _log.warning("live stream: %s", error)
            await asyncio.sleep(BACKOFF_SECONDS)
            return sse.format_comment("waiting for the database")
        if page.identity is not None and derive_epoch(page.identity) != self.epoch:
            self._tail.end(self, EndReason.OTHER_LOG)
            return b""
        self._positions.update(page.reached)
        self._left = page.shards_with_more
        looked_at = sum(seq - positions[shard] for shard, seq in page.reached.items())
        rare = 4 * len(frames) < looked_at
        self._entries = min(self._entries * 2, SEARCH_ENTRIES_MAX) if rare else PAGE_ENTRIES
        if not frames:
            return b""
        return sse.join_frames(frames, format_position(self.epoch, self._positions))
