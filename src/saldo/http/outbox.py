"""Answers on their way to a client that may not be reading yet.

Many clients send their whole body before they read a byte of the answer. If we stopped taking lines as
soon as such a client's receive buffer is full, both sides would wait for ever. So answers that the client
does not take go to a file of the operating system's temporary directory, up to a bound; only past
that bound the writer waits, and with it the reading of the body.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import IO

MEMORY_BYTES_MAX = 1024 * 1024
"""What is kept in memory before a file is used: the answers to some ten thousand lines."""

PIECE_BYTES = 256 * 1024
"""How much is read back from a file at once."""

SEGMENT_BYTES = 16 * 1024 * 1024
"""A file is given back to the system as soon as so much has been written to it and read again."""


class Outbox:
    """Bytes in the order in which they were put, in memory first, in files beyond."""

    def __init__(
        self, deliver: Callable[[bytes], Awaitable[None]], *, spool_bytes_max: int
    ) -> None:
        self._deliver = deliver
        self._spool_bytes_max = spool_bytes_max
        self._memory: deque[bytes] = deque()
        self._memory_bytes = 0
        self._segments: deque[_Segment] = deque()
        self._spooled_bytes = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._closed = False
        self._task = asyncio.create_task(self._work(), name="outbox")

    async def put(self, data: bytes) -> None:
        """Takes data over; waits only while the files are at their bound.

        Raises:
            OSError: a file can't be written.
        """
        while self._spooled_bytes >= self._spool_bytes_max and not self._task.done():
            self._emptied.clear()
            await self._emptied.wait()
        if self._task.done():
            self._task.result()
        if self._spooled_bytes or self._memory_bytes + len(data) > MEMORY_BYTES_MAX:
            await self._spool(data)
        else:
            self._memory.append(data)
            self._memory_bytes += len(data)
        self._filled.set()

    async def close(self) -> None:
        """Returns when everything has been delivered."""
        self._closed = True
        self._filled.set()
        await self._task

    async def abandon(self) -> None:
        """Delivers no more."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _work(self) -> None:
        try:
            while (data := await self._next()) is not None:
                self._emptied.set()
                await self._deliver(data)
        finally:
            self._emptied.set()
            for segment in self._segments:
                segment.file.close()

    async def _next(self) -> bytes | None:
        while True:
            if self._memory:
                data = self._memory.popleft()
                self._memory_bytes -= len(data)
                return data
            if self._spooled_bytes:
                return await self._unspool()
            if self._closed:
                return None
            self._filled.clear()
            await self._filled.wait()

    async def _spool(self, data: bytes) -> None:
        if not self._segments or self._segments[-1].written >= SEGMENT_BYTES:
            self._segments.append(_Segment(tempfile.TemporaryFile()))  # noqa: SIM115 - closed when it has been read
        segment = self._segments[-1]
        await asyncio.to_thread(_write, segment.file.fileno(), data, segment.written)
        segment.written += len(data)
        self._spooled_bytes += len(data)

    async def _unspool(self) -> bytes:
        segment = self._segments[0]
        size = min(PIECE_BYTES, segment.written - segment.read)
        data = await asyncio.to_thread(os.pread, segment.file.fileno(), size, segment.read)
        segment.read += len(data)
        self._spooled_bytes -= len(data)
        if segment.read == segment.written >= SEGMENT_BYTES:
            self._segments.popleft().file.close()
        return data


@dataclass(slots=True)
class _Segment:
    """One file of the spool. Bytes below `read` have been delivered."""

    file: IO[bytes]
    written: int = 0
    read: int = 0


def _write(descriptor: int, data: bytes, position: int) -> None:
    left = memoryview(data)
    while left:
        count = os.pwrite(descriptor, left, position)
        left = left[count:]
        position += count
