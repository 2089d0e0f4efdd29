"""The spool for the answers to a stream, whose client may not be reading yet.

Many clients send their whole body before they read a byte of the response. If the service stopped reading lines as soon
as such a client's receive buffer is full, both sides would wait for ever. Therefore answers that the client does not
read are written to a spool: files in the operating system's temporary directory. The size of spools is limited per
stream, per key and per process. At a limit the service stops reading the body until the client reads.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import IO, TypeVar

T = TypeVar("T")

MEMORY_BYTES_MAX = 1024 * 1024
"""Maximum number of bytes that are kept in memory before files are used. The answers to about ten thousand lines
fit."""

PIECE_BYTES = 256 * 1024
"""Maximum number of bytes that one read from a file returns."""

SEGMENT_BYTES = 16 * 1024 * 1024
"""Size in bytes at which a file is full, and another one is created. The space of a file is freed when the whole file
has been read."""

KEY_SHARE = 2
"""The limit of one key is the limit of the process divided by this number, so that no key can block all others."""


class SpoolSpace:
    """The disk space that all spools of a process may use together."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._used: Counter[str] = Counter()
        self._waiting: set[asyncio.Event] = set()

    @property
    def used_bytes(self) -> int:
        """The number of bytes in files. It includes bytes that have been read, because the space of a file is freed as
        a whole."""
        return self._used.total()

    def has_space_for(self, key: str, size: int) -> bool:
        """Return whether the spools of a key may grow by `size` bytes."""
        of_key = self._used[key] + size <= self._bytes_max // KEY_SHARE
        return of_key and self.used_bytes + size <= self._bytes_max

    def reserve(self, key: str, size: int) -> None:
        """Count bytes that are about to be written."""
        self._used[key] += size

    def release(self, key: str, size: int) -> None:
        """Subtract the bytes of a file that has been closed, and wake the writers that wait for space."""
        self._used[key] -= size
        if not self._used[key]:
            del self._used[key]
        for event in self._waiting:
            event.set()

    async def wait_for_space(self, event: asyncio.Event) -> None:
        """Wait for an event. The method `release` also sets the event."""
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)


class ResponseSpool:
    """A first-in, first-out buffer of response bytes, in memory first and then in files."""

    def __init__(
        self,
        deliver: Callable[[bytes], Awaitable[None]],
        *,
        spool_bytes_max: int,
        space: SpoolSpace,
        key: str = "",
    ) -> None:
        """
        Args:
            deliver: Sends bytes to the client.
            spool_bytes_max: Maximum number of bytes in the files of this spool.
            space: The limit for all spools.
            key: Name of the API key that the space is counted for.
        """
        self._deliver = deliver
        self._spool_bytes_max = spool_bytes_max
        self._space = space
        self._key = key
        self._memory: deque[bytes] = deque()
        self._memory_bytes = 0
        self._segments: deque[_Segment] = deque()
        self._data_added = asyncio.Event()
        self._memory_freed = asyncio.Event()
        self._is_closed = False
        self._task = asyncio.create_task(self._run(), name="response spool")

    @property
    def spooled_bytes(self) -> int:
        """The number of bytes in files."""
        return sum(segment.reserved_bytes for segment in self._segments)

    async def put(self, data: bytes) -> None:
        """Wait until there is space for the data in memory or in files, and then add the data.

        Raises:
            OSError: A file can't be written.
        """
        while not self._task.done() and not self._fits(len(data)):
            self._memory_freed.clear()
            await self._space.wait_for_space(self._memory_freed)
        if self._task.done():
            self._task.result()
        if self._fits_memory(len(data)):
            self._memory.append(data)
            self._memory_bytes += len(data)
        else:
            await self._spool_piece(data)
        self._data_added.set()

    async def close(self) -> None:
        """Return after everything has been delivered."""
        self._is_closed = True
        self._data_added.set()
        await self._task

    async def abandon(self) -> None:
        """Stop the delivery, and free the space of the files."""
        self._task.cancel()
        await asyncio.wait([self._task])
        while self._segments:
            self._drop_segment(self._segments.popleft())

    def _fits(self, size: int) -> bool:
        return self._fits_memory(size) or (
            self.spooled_bytes + size <= self._spool_bytes_max
            and self._space.has_space_for(self._key, size)
        )

    def _fits_memory(self, size: int) -> bool:
        # Data of any size fits into empty memory, so that everything is delivered eventually.
        has_room = not self._memory_bytes or self._memory_bytes + size <= MEMORY_BYTES_MAX
        return has_room and not self._segments

    async def _run(self) -> None:
        try:
            while (data := await self._next_piece()) is not None:
                self._memory_freed.set()
                await self._deliver(data)
        finally:
            self._memory_freed.set()

    async def _next_piece(self) -> bytes | None:
        while True:
            if self._memory:
                data = self._memory.popleft()
                self._memory_bytes -= len(data)
                return data
            if self._segments and self._segments[0].unread_bytes:
                return await self._unspool_piece()
            if self._is_closed:
                return None
            self._data_added.clear()
            await self._data_added.wait()

    async def _spool_piece(self, data: bytes) -> None:
        if not self._segments or self._segments[-1].written_bytes >= SEGMENT_BYTES:
            self._segments.append(_Segment(tempfile.TemporaryFile()))  # noqa: SIM115 - closed by _drop
        segment = self._segments[-1]
        self._space.reserve(self._key, len(data))
        segment.reserved_bytes += len(data)
        await segment.run_in_thread(
            lambda descriptor: _write_all(descriptor, data, segment.written_bytes)
        )
        segment.written_bytes += len(data)

    async def _unspool_piece(self) -> bytes:
        segment = self._segments[0]
        size = min(PIECE_BYTES, segment.unread_bytes)
        data = await segment.run_in_thread(
            lambda descriptor: os.pread(descriptor, size, segment.read_bytes)
        )
        segment.read_bytes += len(data)
        if segment.read_bytes == segment.reserved_bytes:
            self._segments.popleft()
            self._drop_segment(segment)
        return data

    def _drop_segment(self, segment: _Segment) -> None:
        segment.close()
        self._space.release(self._key, segment.reserved_bytes)


@dataclass(slots=True)
class _Segment:
    """One file of a spool.

    Attributes:
        reserved_bytes: Number of bytes that are written or being written.
        written_bytes: Number of bytes that can be read.
        read_bytes: Number of bytes that have been read.
    """

    file: IO[bytes]
    reserved_bytes: int = 0
    written_bytes: int = 0
    read_bytes: int = 0
    _in_use: int = 0
    _is_closing: bool = False

    @property
    def unread_bytes(self) -> int:
        return self.written_bytes - self.read_bytes

    async def run_in_thread(self, work: Callable[[int], T]) -> T:
        """Run a function on the file in a thread. The file stays open until the function has returned, even if the
        caller is cancelled.

        If the file were closed earlier, its descriptor could already belong to another file, such as another client's
        spool.
        """
        self._in_use += 1
        future = asyncio.get_running_loop().run_in_executor(None, work, self.file.fileno())
        future.add_done_callback(self._release)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Close the file as soon as no thread uses it."""
        self._is_closing = True
        if not self._in_use:
            self.file.close()

    def _release(self, _: object) -> None:
        self._in_use -= 1
        if self._is_closing and not self._in_use:
            self.file.close()


def _write_all(descriptor: int, data: bytes, position: int) -> None:
    remaining = memoryview(data)
    while remaining:
        count = os.pwrite(descriptor, remaining, position)
        remaining = remaining[count:]
        position += count
