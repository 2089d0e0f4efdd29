"""One subscriber of the live stream: reads the past from its own position, then joins the tail.

How nothing is lost and nothing comes twice: a subscriber reads pages of the log until there is no more; waits
until the hub has read at least as far; joins, from when on the hub hands it what comes after the hub's
position; and reads what is left between its own position and that one.
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

from saldo.relay import sse
from saldo.relay.events import EVENT_TYPES, Encoder, EventType
from saldo.relay.position import epoch_of, write_position
from saldo.store.errors import StoreError
from saldo.store.log import Log, LogPage, Positions

PAGE_ENTRIES = 512
"""Of the past at once: some milliseconds of our time, and what one subscriber may hold of memory."""

SEARCH_ENTRIES_MAX = 8192
"""Entries of a page in which little is found of what is wanted."""

STEP_BACK = 1.0
"""After a page of the past was encoded, the next one waits so many times as long as that took."""

PIECE_BYTES = 64 * 1024
"""What is sent at once of what has come together: each piece has an id."""

BACKOFF_SECONDS = 1.0
"""Between attempts to read a log that can't be read."""

_log = logging.getLogger("saldo.relay")


class Ending(Enum):
    """Why a stream ends, in the words that the client is told."""

    TOO_SLOW = "too slow; resume with Last-Event-ID"
    STOPPING = "the service is stopping; resume with Last-Event-ID"
    OTHER_LOG = "the database was restored or has failed over; begin again with from="
    NOT_ADMITTED = "the key is not valid any more"
    FAILED = "a fault of ours; resume with Last-Event-ID"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a subscriber wants to see.

    Attributes:
        users: None: all.
        shards: those of the users.
    """

    users: frozenset[int] | None
    types: frozenset[EventType]
    shards: tuple[int, ...]

    @property
    def kinds(self) -> list[int] | None:
        """The types as `Log.page` names them."""
        if len(self.types) == len(EVENT_TYPES):
            return None
        return [number for number, name in enumerate(EVENT_TYPES) if name in self.types]


class Tail(Protocol):
    """What a subscription needs of the hub (`saldo.relay.live.Hub`)."""

    async def reached(self, positions: Mapping[int, int], seconds: float) -> bool: ...
    def join(self, subscription: Subscription) -> Positions: ...
    def handed_out(self, shard: int) -> int: ...
    def end(self, subscription: Subscription, ending: Ending) -> None: ...
    def leave(self, subscription: Subscription) -> None: ...


class Past:
    """Reads the past for all subscribers, one page at a time: however many come back, posting goes on."""

    def __init__(self, log: Log, encoder: Encoder) -> None:
        self._log = log
        self._encoder = encoder
        self._turn = asyncio.Lock()

    async def page(
        self, positions: Positions, entries: int, until: Positions | None, wanted: Wanted
    ) -> tuple[LogPage, list[bytes]]:
        """Looks at up to about so many entries after the positions; those that are wanted, encoded.

        Raises:
            StoreError: the database can't be read.
        """
        loop = asyncio.get_running_loop()
        users = None if wanted.users is None else sorted(wanted.users)
        per_shard = max(1, entries // len(positions))
        async with self._turn:
            page = await self._log.page(
                positions, per_shard, until=until, users=users, kinds=wanted.kinds
            )
            began = loop.time()
            frames = [sse.frame(self._encoder.event(entry)) for entry in page.entries]
            await asyncio.sleep((loop.time() - began) * STEP_BACK)
        return page, frames


class Subscription:
    """A subscriber's place in the log and what waits for it. A context manager."""

    def __init__(
        self,
        tail: Tail,
        past: Past,
        wanted: Wanted,
        *,
        buffer_bytes_max: int,
        heartbeat_seconds: float,
    ) -> None:
        self.wanted = wanted
        self.epoch = b""
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._tail = tail
        self._past = past
        self._buffer_bytes_max = buffer_bytes_max
        self._heartbeat_seconds = heartbeat_seconds
        self._positions: Positions = {}
        self._until: Positions | None = None
        self._left: set[int] = set(wanted.shards)
        self._entries = PAGE_ENTRIES
        self._buffer: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._filled = asyncio.Event()
        self._step: Callable[[float], Awaitable[bytes]] = self._read_past

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self._tail.leave(self)

    def begin(self, epoch: bytes, positions: Positions) -> None:
        """Where it begins."""
        self.epoch = epoch
        self._positions = positions

    @property
    def mark(self) -> bytes:
        """The id of what has been given out by `next`; none after the end, for what was left then is thrown away."""
        if self.ended.done():
            return sse.comment("ended")
        positions = self._positions
        if self._step == self._take_buffered and not self._buffer:
            positions = {
                shard: max(seq, self._tail.handed_out(shard)) for shard, seq in positions.items()
            }
        return sse.mark(write_position(self.epoch, positions))

    def offer(self, payload: bytes) -> bool:
        """Takes what has come; False: too much waits already."""
        if self._buffered_bytes > self._buffer_bytes_max:
            return False
        self._buffer.append(payload)
        self._buffered_bytes += len(payload)
        self._filled.set()
        return True

    def end(self, ending: Ending) -> bool:
        """Nothing more comes; whether this is news."""
        self._buffer.clear()
        if self.ended.done():
            return False
        self.ended.set_result(ending)
        return True

    async def next(self) -> bytes:
        """Waits for what is to be sent next: events, or a sign of life with the id of now."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._heartbeat_seconds
        while (seconds := due - loop.time()) > 0:
            payload = await self._step(seconds)
            if payload:
                return payload
        return self.mark

    async def _read_past(self, _: float) -> bytes:
        """The next page up to the end of the log; then it is time to join."""
        payload = await self._page(None)
        if not self._left:
            self._step = self._join
        return payload

    async def _join(self, seconds: float) -> bytes:
        if await self._tail.reached(self._positions, seconds):
            self._until = self._tail.join(self)
            self._left = set(self.wanted.shards)
            self._step = self._read_rest
        return b""

    async def _read_rest(self, _: float) -> bytes:
        """What is left between this subscriber's position and where the hub's handing out began."""
        assert self._until is not None
        if self._positions == self._until:
            self._step = self._take_buffered
            return b""
        return await self._page(self._until)

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

    async def _page(self, until: Positions | None) -> bytes:
        """A page of the past; moves the position over all that was looked at."""
        positions = {shard: self._positions[shard] for shard in self._left}
        try:
            page, frames = await self._past.page(positions, self._entries, until, self.wanted)
        except StoreError as error:
            _log.warning("live stream: %s", error)
            await asyncio.sleep(BACKOFF_SECONDS)
            return sse.comment("waiting for the database")
        if page.identity is not None and epoch_of(page.identity) != self.epoch:
            self._tail.end(self, Ending.OTHER_LOG)
            return b""
        self._positions.update(page.reached)
        self._left = page.left
        looked_at = sum(seq - positions[shard] for shard, seq in page.reached.items())
        rare = 4 * len(frames) < looked_at
        self._entries = min(self._entries * 2, SEARCH_ENTRIES_MAX) if rare else PAGE_ENTRIES
        if not frames:
            return b""
        return sse.joined(frames, write_position(self.epoch, self._positions))
