"""Bulk requests as streams of newline-delimited JSON: reading, posting and answering overlap.

Memory does not grow with the length of a stream. A few chunks are in flight at a time, and answers that the client does
not read wait in the spool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from saldo.auth.authenticator import Authentication
from saldo.engine.engine import Engine
from saldo.engine.pending import Result
from saldo.http import problems
from saldo.http.api.bulk_outcomes import Item, check_user, encode_lines, outcome_lines
from saldo.http.api.response_spool import ResponseSpool, SpoolSpace
from saldo.http.problems import ProblemError
from saldo.ledger.model import TransactionRequest
from saldo.parsing.faults import InvalidError
from saldo.parsing.transactions import ParserOptions, parse_transaction


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Limits of a stream; see the settings of the same names."""

    line_bytes_max: int
    chunk_requests_max: int
    stream_chunks_in_flight_max: int
    spool_bytes_max: int


class LineSplitter:
    """A splitter of bytes into lines, numbered from 1. A line above the limit is not kept."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._begun = b""
        self._too_long = False
        self.number = 0
        """Number of the last complete line."""

    def feed(self, data: bytes) -> list[tuple[int, bytes | None]]:
        """Return the lines that end in the data, with their numbers.

        A line that is too long is None. Empty lines are counted and not returned.
        """
        *ended, begun = data.split(b"\n")
        found: list[tuple[int, bytes | None]] = []
        for line in ended:
            whole = self._begun + line
            self.number += 1
            if self._too_long or len(whole) > self._bytes_max:
                found.append((self.number, None))
            elif whole and not whole.isspace():
                found.append((self.number, whole))
            self._begun = b""
            self._too_long = False
        self._begun += begun
        if len(self._begun) > self._bytes_max:
            self._begun = b""
            self._too_long = True
        return found

    def flush(self) -> list[tuple[int, bytes | None]]:
        """Return the last line, if it has no line break."""
        return self.feed(b"\n") if self._begun or self._too_long else []


class StreamEndedError(ProblemError):
    """Raised when a stream is rejected or ends early. Lines that were read are answered, and no more are read."""


class PendingItems:
    """Items of one stream that have been read and are not posted yet, at most one chunk."""

    def __init__(self, items_max: int) -> None:
        self._items_max = items_max
        self._items: list[tuple[int, Item]] = []
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._ended = False

    async def put(self, number: int, item: Item) -> None:
        """Add an item, after waiting while the backlog is full."""
        while len(self._items) >= self._items_max:
            self._taken.clear()
            await self._taken.wait()
        self._items.append((number, item))
        self._arrived.set()

    def end(self) -> None:
        """Mark the end of the stream: no items follow."""
        self._ended = True
        self._arrived.set()

    async def wait(self) -> Sequence[tuple[int, Item]]:
        """Wait for items and return them without removing them. The result is empty at the end of the stream."""
        while not self._items and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        return self._items

    def take(self) -> list[tuple[int, Item]]:
        """Remove and return the items."""
        items, self._items = self._items, []
        self._taken.set()
        return items


@dataclass(frozen=True, slots=True)
class _Chunk:
    items: list[tuple[int, Item]]
    results: asyncio.Future[list[Result]] | None


class BulkStream:
    """A stream of one request, whose lines are read, posted and answered by three concurrent tasks."""

    def __init__(
        self,
        engine: Engine,
        reading: ParserOptions,
        limits: StreamLimits,
        room: asyncio.Semaphore,
        space: SpoolSpace,
        deliver: Callable[[bytes], Awaitable[None]],
        admission: Authentication,
    ) -> None:
        """
        Args:
            room: Limits the chunks in flight in the whole process.
            space: The disk space for the unread answers of all streams.
            deliver: Sends bytes of the response to the client.
            admission: The admission of the request, which is checked again before each chunk.
        """
        self._engine = engine
        self._reading = reading
        self._limits = limits
        self._room = room
        self._admission = admission
        self._outbox = ResponseSpool(
            deliver,
            spool_bytes_max=limits.spool_bytes_max,
            space=space,
            key=admission.grant.name,
        )
        self._backlog = PendingItems(limits.chunk_requests_max)
        self._slots = asyncio.Semaphore(limits.stream_chunks_in_flight_max)
        self._chunks: asyncio.Queue[_Chunk | None] = asyncio.Queue()

    async def run(self, pieces: AsyncIterator[bytes]) -> None:
        """Process all pieces of the body, and return when every line has been answered."""
        reading = asyncio.create_task(self._take(pieces), name="bulk stream reader")
        posting = asyncio.create_task(self._post(reading), name="bulk stream poster")
        answering = asyncio.create_task(self._answer(), name="bulk stream writer")
        tasks = {reading, posting, answering}
        try:
            # If one task fails, all end: the client may wait for an answer before it sends more.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if not task.cancelled():
                    task.result()
            await self._outbox.close()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._outbox.abandon()

    async def _take(self, pieces: AsyncIterator[bytes]) -> None:
        lines = LineSplitter(self._limits.line_bytes_max)
        try:
            async for piece in pieces:
                for number, line in lines.feed(piece):
                    await self._backlog.put(number, self._read(line))
            for number, line in lines.flush():
                await self._backlog.put(number, self._read(line))
        except StreamEndedError as ended:
            await self._backlog.put(lines.number + 1, ended.problem)
        self._backlog.end()

    def _read(self, line: bytes | None) -> Item:
        if line is None:
            return problems.line_too_long(self._limits.line_bytes_max)
        try:
            request = parse_transaction(line, None, self._reading)
            return check_user(request, self._admission.grant)
        except InvalidError as error:
            return error

    async def _post(self, reading: asyncio.Task[None]) -> None:
        """Post the items as soon as another chunk is allowed, whether or not the client sends more."""
        while True:
            await self._slots.acquire()
            items = await self._backlog.wait()
            if not items:
                break
            bucket, counted = self._admission.grant.bucket, len(items)
            if bucket is not None:
                await bucket.take_tokens_when_available(counted)
            if not await self._admission.is_still_valid():
                # The key is no longer valid, so nothing more is read.
                reading.cancel()
                number = self._backlog.take()[0][0]
                self._chunks.put_nowait(_Chunk([(number, problems.key_revoked())], None))
                break
            items = await self._submit()
            if bucket is not None and len(items) > counted:
                bucket.overdraw(len(items) - counted)  # items that arrived while the chunk waited
        self._chunks.put_nowait(None)

    async def _submit(self) -> list[tuple[int, Item]]:
        """Send the items to the engine and return them. If all of them are invalid, the engine is not needed."""
        results = None
        items = await self._backlog.wait()
        if any(isinstance(item, TransactionRequest) for _, item in items):
            await self._room.acquire()
            items = self._backlog.take()
            requests = [item for _, item in items if isinstance(item, TransactionRequest)]
            # This is a separate task, so that requests in the engine are completed if the client disconnects.
            results = asyncio.ensure_future(self._engine.post_many(requests))
            results.add_done_callback(lambda _: self._room.release())
        else:
            items = self._backlog.take()
        self._chunks.put_nowait(_Chunk(items, results))
        return items

    async def _answer(self) -> None:
        while (chunk := await self._chunks.get()) is not None:
            results = [] if chunk.results is None else await chunk.results
            lines = outcome_lines(
                chunk.items, results, self._reading.decimals, self._admission.grant
            )
            await self._outbox.put(encode_lines(lines))
            self._slots.release()
